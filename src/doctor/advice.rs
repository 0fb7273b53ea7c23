//! What to look at on the host itself. Text only: nothing here connects to the host or changes anything on it.

use serde::Serialize;

/// A piece of advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What it is about: a system value, or a part of the host.
    pub about: &'static str,
    /// How to see what it is now, on a command line of the host.
    pub look: &'static str,
    /// What we would set, and why.
    pub advice: &'static str,
}

/// All advice.
pub const ADVICE: &[Advice] = &[
    Advice {
        about: "QMAXSIGN",
        look: "DSPSYSVAL QMAXSIGN",
        advice: "3 (the default). How many wrong passwords in a row the host takes before QMAXSGNACN. Have the gateway end a \
                 session earlier (lockout.delay-after), or use order = \"code-first\", so that guesses do not reach it.",
    },
    Advice {
        about: "QMAXSGNACN",
        look: "DSPSYSVAL QMAXSGNACN",
        advice: "3 (profile and device), or 2 (profile). With 1 (device) a guesser takes the next device: device names are the \
                 client's to choose.",
    },
    Advice {
        about: "QDSPSGNINF",
        look: "DSPSYSVAL QDSPSGNINF",
        advice: "1: shows each user the last sign-on and the wrong tries since, so that somebody notices. It comes behind the \
                 passcode. Where the gateway checks FTP passwords, its tries are counted there, too.",
    },
    Advice {
        about: "QRMTSIGN",
        look: "DSPSYSVAL QRMTSIGN",
        advice: "*FRCSIGNON: no sign-on without the display, also with automatic sign-on variables, which the gateway takes out \
                 by default (auto_sign_on = \"strip\"). Where the gateway is to challenge them (\"challenge\"): *VERIFY.",
    },
    Advice {
        about: "QAUTOVRT",
        look: "DSPSYSVAL QAUTOVRT",
        advice: "A number that is enough for your terminals, or 0 with devices you made. *NOMAX lets whoever can connect make \
                 devices without end, and with QMAXSGNACN 1 gives a guesser new ones.",
    },
    Advice {
        about: "QLMTDEVSSN",
        look: "DSPSYSVAL QLMTDEVSSN",
        advice: "1, where your users need one session at a time: somebody else's session with the same profile is then \
                 refused or noticed. With 0 let the repeat window of the gateway be short.",
    },
    Advice {
        about: "QINACTITV",
        look: "DSPSYSVAL QINACTITV, DSPSYSVAL QINACTMSGQ",
        advice: "15 to 60 minutes, with QINACTMSGQ *DSCJOB or *ENDJOB. The gateway has no time limit of its own for a session \
                 that is admitted: an idle one is the host's to end.",
    },
    Advice {
        about: "QDSCJOBITV",
        look: "DSPSYSVAL QDSCJOBITV",
        advice: "240 or less: a disconnected job, to which whoever signs on next with the profile comes back, ends after it.",
    },
    Advice {
        about: "QLMTSECOFR",
        look: "DSPSYSVAL QLMTSECOFR",
        advice: "1: profiles with all authority sign on only at devices where that was granted.",
    },
    Advice {
        about: "Telnet port",
        look: "NETSTAT *CNN, CFGTCP option 4",
        advice: "Let only the gateway's addresses reach ports 23 and 992: by a firewall in front of the host, by the host's own \
                 packet rules (IP filtering), or an exit program at QIBM_QTG_DEVINIT that refuses other addresses. Port \
                 restrictions (CFGTCP option 4) say which profile may use a port on the host, not who may connect to it.",
    },
    Advice {
        about: "FTP port",
        look: "NETSTAT *CNN, CHGFTPA",
        advice: "Likewise for 21, 990 and the passive ports. An exit program at QIBM_QTMF_SVR_LOGON can refuse other addresses \
                 than the gateway's.",
    },
    Advice {
        about: "Other doors",
        look: "NETSTAT *CNN",
        advice: "SSH, DDM (446-448), host servers (449, 8470-8476, 9470-9476), NetServer, HTTP administration: a password alone \
                 is enough there. End what nobody uses (ENDTCPSVR, ENDHOSTSVR); let a firewall admit only who needs the rest. \
                 `sallyport doctor probe-direct --from-here HOST`, on a client's machine, shows what can be reached.",
    },
    Advice {
        about: "Programs at sign-on",
        look: "DSPUSRPRF USER: initial program, and LMTCPB",
        advice: "With order = \"password-first\" a profile's initial program begins before the passcode is asked for. What it shows \
                 is held; what it does is done. Where that matters: order = \"code-first\".",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The page for administrators has all of it.
    #[test]
    fn the_page_tells_the_same() {
        let page = include_str!("../../docs/operating.md");
        let text = |words: &str| words.split_whitespace().collect::<Vec<_>>().join(" ").replace('`', "");
        let page = text(page);
        for advice in ADVICE {
            assert!(page.contains(advice.about), "{}", advice.about);
            assert!(page.contains(&text(advice.advice)), "{}: {}", advice.about, text(advice.advice));
        }
    }
}
