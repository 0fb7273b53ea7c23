//! The pure decisions of Sallyport, and the words that gates and guard share.
//!
//! Nothing here reads, writes, logs, sleeps, draws random numbers or asks the time: bytes, times and facts come in as
//! arguments, decisions go out as values.

pub mod attempt;
pub mod dialogue;
pub mod secret;

pub use attempt::{Attempt, Service, User, UserError};
pub use dialogue::{Answer, Heading, Message, Notice, PasscodePrompt, Prompt, Question, Report, Verdict};
pub use secret::Secret;
