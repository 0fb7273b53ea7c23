//! The verbs that are known, and how far each may go.

use core::fmt;

/// How far a command goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Nowhere: refused.
    Nobody,
    /// The gateway answers it; the host does not hear it, or hears what the gateway makes of it.
    Gateway,
    /// The host may hear it.
    Host,
}

/// The table: the variant, the word, how far it goes after admission, and what it is.
macro_rules! verbs {
    ($($variant:ident $word:literal $after:ident $meaning:literal;)*) => {
        /// A verb that a standard, IBM i or a widespread client defines.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Verb {
            $(#[doc = concat!("`", $word, "`: ", $meaning, ".")] $variant,)*
        }

        impl Verb {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word, in capitals.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// How far it may go once its user is admitted. Verbs that change who is logged on, how the connection is
            /// secured or where data goes are the gateway's for ever.
            #[must_use]
            pub const fn after_admission(self) -> Reach {
                match self { $(Self::$variant => Reach::$after,)* }
            }
        }
    };
}

verbs! {
    // RFC 959: who and how.
    User "USER" Gateway "who logs on (RFC 959); at any time a new logon";
    Pass "PASS" Gateway "the password (RFC 959)";
    Acct "ACCT" Gateway "the account (RFC 959); where a passcode may come";
    Rein "REIN" Gateway "forget who is logged on (RFC 959)";
    Quit "QUIT" Gateway "the end (RFC 959)";
    Smnt "SMNT" Host    "mount a file system (RFC 959)";
    // RFC 959: where data goes, and in what form.
    Port "PORT" Gateway "connect there for data (RFC 959)";
    Pasv "PASV" Gateway "listen for data (RFC 959)";
    Type "TYPE" Host    "the representation (RFC 959)";
    Stru "STRU" Host    "the file structure (RFC 959)";
    Mode "MODE" Host    "the transfer mode (RFC 959)";
    // RFC 959: service.
    Retr "RETR" Host    "send a file (RFC 959)";
    Stor "STOR" Host    "take a file (RFC 959)";
    Stou "STOU" Host    "take a file and name it (RFC 959)";
    Appe "APPE" Host    "append to a file (RFC 959)";
    Allo "ALLO" Host    "reserve room (RFC 959)";
    Rest "REST" Host    "begin the next transfer there (RFC 959, 3659)";
    Rnfr "RNFR" Host    "the file to rename (RFC 959)";
    Rnto "RNTO" Host    "its new name (RFC 959)";
    Abor "ABOR" Gateway "end the transfer (RFC 959)";
    Dele "DELE" Host    "delete a file (RFC 959)";
    Cwd  "CWD"  Host    "change the directory (RFC 959)";
    Cdup "CDUP" Host    "change to the parent directory (RFC 959)";
    Rmd  "RMD"  Host    "remove a directory (RFC 959)";
    Mkd  "MKD"  Host    "make a directory (RFC 959)";
    Pwd  "PWD"  Host    "which directory is it (RFC 959)";
    List "LIST" Host    "list files (RFC 959)";
    Nlst "NLST" Host    "list names (RFC 959)";
    Site "SITE" Host    "what this host alone has (RFC 959)";
    Syst "SYST" Host    "which system is it (RFC 959)";
    Stat "STAT" Host    "status, or a list on the control channel (RFC 959)";
    Help "HELP" Host    "help (RFC 959)";
    Noop "NOOP" Host    "nothing (RFC 959)";
    // RFC 775, 1123: the same in the words of older systems.
    Xcup "XCUP" Host    "CDUP (RFC 775)";
    Xcwd "XCWD" Host    "CWD (RFC 775)";
    Xmkd "XMKD" Host    "MKD (RFC 775)";
    Xpwd "XPWD" Host    "PWD (RFC 775)";
    Xrmd "XRMD" Host    "RMD (RFC 775)";
    // RFC 1639, and extensions by which one host sends to another or changes sides in TLS.
    Lprt "LPRT" Nobody  "PORT with long addresses (RFC 1639)";
    Lpsv "LPSV" Nobody  "PASV with long addresses (RFC 1639)";
    Spsv "SPSV" Nobody  "PASV for many transfers";
    Cpsv "CPSV" Nobody  "PASV with the host as the client of TLS";
    Sscn "SSCN" Nobody  "the host as the client of TLS";
    Xptl "XPTL" Nobody  "transfers between hosts";
    // RFC 2228, 4217: security.
    Auth "AUTH" Gateway "secure the connection (RFC 2228, 4217)";
    Adat "ADAT" Nobody  "security data (RFC 2228)";
    Pbsz "PBSZ" Gateway "the protection buffer's size (RFC 2228, 4217)";
    Prot "PROT" Gateway "how data is protected (RFC 2228, 4217)";
    Ccc  "CCC"  Nobody  "no more protection of commands (RFC 2228, 4217)";
    Mic  "MIC"  Nobody  "a command with its integrity protected (RFC 2228)";
    Conf "CONF" Nobody  "a command kept confidential (RFC 2228)";
    Enc  "ENC"  Nobody  "a command with its privacy protected (RFC 2228)";
    // RFC 2389, 2640, 7151: what there is, and what is chosen.
    Feat "FEAT" Gateway "which features are there (RFC 2389)";
    Opts "OPTS" Host    "an option of a command (RFC 2389)";
    Lang "LANG" Host    "the language of replies (RFC 2640)";
    Host "HOST" Gateway "the host by name (RFC 7151)";
    Clnt "CLNT" Host    "what the client is";
    Csid "CSID" Host    "what client and host are";
    // RFC 2428: data, for more than IPv4.
    Eprt "EPRT" Gateway "connect there for data (RFC 2428)";
    Epsv "EPSV" Gateway "listen for data (RFC 2428)";
    // RFC 3659, and what is like it.
    Mdtm "MDTM" Host    "when was the file changed (RFC 3659)";
    Mlsd "MLSD" Host    "list files for programs (RFC 3659)";
    Mlst "MLST" Host    "facts of a file for programs (RFC 3659)";
    Size "SIZE" Host    "how long is the file (RFC 3659)";
    Mfmt "MFMT" Host    "set when the file was changed";
    Mfct "MFCT" Host    "set when the file was made";
    Mff  "MFF"  Host    "set facts of a file";
    Hash "HASH" Host    "a hash of the file";
    Rang "RANG" Host    "the part of the file that is meant";
    Xcrc "XCRC" Host    "a checksum of the file";
    Xmd5 "XMD5" Host    "an MD5 hash of the file";
    Xsha "XSHA" Host    "a SHA-1 hash of the file";
    // IBM i.
    Addm "ADDM" Host    "add a member to a physical file (IBM i)";
    Addv "ADDV" Host    "add a member to a variable-length file (IBM i)";
    Crtl "CRTL" Host    "create a library (IBM i)";
    Crtp "CRTP" Host    "create a physical file (IBM i)";
    Crts "CRTS" Host    "create a source physical file (IBM i)";
    Dbug "DBUG" Host    "trace the server (IBM i)";
    Dltf "DLTF" Host    "delete a file (IBM i)";
    Dltl "DLTL" Host    "delete a library (IBM i)";
    Rcmd "RCMD" Host    "run a CL command (IBM i)";
    Time "TIME" Host    "set time-outs (IBM i)";
}

impl Verb {
    /// The verb of this word, in whatever case.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Self> {
        Self::ALL.iter().copied().find(|verb| verb.word().as_bytes().eq_ignore_ascii_case(word))
    }

    /// Whether it means something while nobody is admitted. All others are refused then, whatever stands behind them.
    #[must_use]
    pub const fn is_for_logon(self) -> bool {
        matches!(
            self,
            Self::User
                | Self::Pass
                | Self::Acct
                | Self::Rein
                | Self::Quit
                | Self::Noop
                | Self::Auth
                | Self::Pbsz
                | Self::Prot
                | Self::Feat
                | Self::Opts
                | Self::Host
                | Self::Clnt
        )
    }

    /// Whether `word`, which is no verb, would be one that is not for the host to those who look at its first letters only.
    #[must_use]
    pub fn is_disguise(word: &[u8]) -> bool {
        let not_for_host =
            Self::ALL.iter().filter(|verb| verb.after_admission() != Reach::Host && verb.word().len() > 3);
        let begins = |verb: &Self| {
            word.get(..verb.word().len()).is_some_and(|head| head.eq_ignore_ascii_case(verb.word().as_bytes()))
        };
        not_for_host.copied().any(|verb| begins(&verb))
    }

    /// Whether it moves data over a data connection.
    #[must_use]
    pub const fn transfers(self) -> bool {
        matches!(self, Self::Retr | Self::Stor | Self::Stou | Self::Appe | Self::List | Self::Nlst | Self::Mlsd)
    }

    /// Whether it cannot wait for the end of a transfer.
    #[must_use]
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Abor | Self::Stat | Self::Quit | Self::Noop)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (at, verb) in Verb::ALL.iter().enumerate() {
            let word = verb.word();
            assert_eq!(Verb::from_word(word.as_bytes()), Some(*verb));
            assert_eq!(Verb::from_word(word.to_lowercase().as_bytes()), Some(*verb));
            assert_eq!(verb.to_string(), word);
            assert!(matches!(word.len(), 3 | 4) && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'5'));
            assert!(Verb::ALL[..at].iter().all(|other| other.word() != word), "{word} stands twice");
        }
        assert_eq!(Verb::from_word(b"USE"), None);
        assert_eq!(Verb::from_word(b"USERS"), None);
        assert_eq!(Verb::from_word(b""), None);
    }

    #[test]
    fn before_admission_few_words_mean_something() {
        let words: Vec<_> = Verb::ALL.iter().filter(|verb| verb.is_for_logon()).map(|verb| verb.word()).collect();
        assert_eq!(words.join(" "), "USER PASS ACCT REIN QUIT NOOP AUTH PBSZ PROT FEAT OPTS HOST CLNT");
    }

    #[test]
    fn a_longer_word_disguises_no_verb() {
        for word in ["USERX", "passw", "ACCTOUNT", "REINIT", "PORTX", "EPRT1", "ABORT", "CPSVX"] {
            assert!(Verb::is_disguise(word.as_bytes()), "{word}");
        }
        for word in ["XUSER", "USE", "NEWVERB", "SITEX", "ENCODE", "XSHA256"] {
            assert!(!Verb::is_disguise(word.as_bytes()), "{word}");
        }
    }

    #[test]
    fn what_changes_identity_security_or_data_never_passes() {
        let after = |reach| Verb::ALL.iter().filter(move |verb| verb.after_admission() == reach);
        let words = |reach| after(reach).map(|verb| verb.word()).collect::<Vec<_>>().join(" ");
        assert_eq!(words(Reach::Gateway), "USER PASS ACCT REIN QUIT PORT PASV ABOR AUTH PBSZ PROT FEAT HOST EPRT EPSV");
        assert_eq!(words(Reach::Nobody), "LPRT LPSV SPSV CPSV SSCN XPTL ADAT CCC MIC CONF ENC");
        assert!(after(Reach::Nobody).all(|verb| !verb.is_for_logon()));
    }

    #[test]
    fn transfers() {
        let transfers: Vec<_> = Verb::ALL.iter().filter(|verb| verb.transfers()).map(|verb| verb.word()).collect();
        assert_eq!(transfers, ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"]);
        assert!(transfers.iter().all(|word| !Verb::from_word(word.as_bytes()).unwrap().is_urgent()));
        assert!(Verb::Abor.is_urgent() && Verb::Noop.is_urgent());
    }
}
