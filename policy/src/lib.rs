//! The pure decisions of Sallyport, and the words that gates and guard share.
//!
//! Nothing here reads, writes, logs, sleeps, draws random numbers or asks the time: bytes, times and facts come in as
//! arguments, decisions go out as values.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod account;
pub mod alert;
pub mod attempt;
pub mod challenge;
pub mod check;
pub mod contact;
pub mod decide;
pub mod dialogue;
pub mod factor;
pub mod history;
pub mod lockout;
pub mod mode;
pub mod rule;
pub mod secret;
pub mod setting;

pub use account::{Fingerprint, ServiceAccount};
pub use alert::{AlertKind, Muted};
pub use attempt::{Attempt, Service, User, UserError};
pub use contact::{ContactKind, Language};
pub use decide::{Decision, Effect, Reason, Step, decide, explain};
pub use dialogue::{
    Answer, Asks, Filled, Heading, Keys, Message, Notice, Panel, PanelKey, PanelLine, PasscodePrompt, Prompt, Question,
    Report, ShownKey, Verdict, Way,
};
pub use factor::{Assurance, Factor, Factors};
pub use history::{Admission, Emergency, History, Standing};
pub use lockout::{Failure, Scope, Tally};
pub use mode::Mode;
pub use rule::{Logging, Network, Networks, Rules, Treatment};
pub use secret::{Secret, wipe};
pub use setting::{Approval, Enforcement, Enrolment, EnrolmentGuard, Setting, Settings, Unnamed};
