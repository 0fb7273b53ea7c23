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

/// The table: the variant, the word, how far it goes before admission and after, and what it is.
macro_rules! verbs {
    ($($variant:ident $word:literal $before:ident $after:ident $meaning:literal;)*) => {
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

            /// How far it may go while nobody is admitted. A verb that is answered by the gateway changes nothing at the
            /// host; what it sets (`OPTS`, `CLNT`, `LANG`, `CSID`, `HOST`) can be told to the host after admission.
            #[must_use]
            pub const fn before_admission(self) -> Reach {
                match self { $(Self::$variant => Reach::$before,)* }
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
    User "USER" Host    Gateway "who logs on (RFC 959); at any time a new logon";
    Pass "PASS" Host    Gateway "the password (RFC 959)";
    Acct "ACCT" Host    Gateway "the account (RFC 959); where a passcode may come";
    Rein "REIN" Gateway Gateway "forget who is logged on (RFC 959)";
    Quit "QUIT" Host    Gateway "the end (RFC 959)";
    Smnt "SMNT" Nobody  Host    "mount a file system (RFC 959)";
    // RFC 959: where data goes, and in what form.
    Port "PORT" Nobody  Gateway "connect there for data (RFC 959)";
    Pasv "PASV" Nobody  Gateway "listen for data (RFC 959)";
    Type "TYPE" Nobody  Host    "the representation (RFC 959)";
    Stru "STRU" Nobody  Host    "the file structure (RFC 959)";
    Mode "MODE" Nobody  Host    "the transfer mode (RFC 959)";
    // RFC 959: service.
    Retr "RETR" Nobody  Host    "send a file (RFC 959)";
    Stor "STOR" Nobody  Host    "take a file (RFC 959)";
    Stou "STOU" Nobody  Host    "take a file and name it (RFC 959)";
    Appe "APPE" Nobody  Host    "append to a file (RFC 959)";
    Allo "ALLO" Nobody  Host    "reserve room (RFC 959)";
    Rest "REST" Nobody  Host    "begin the next transfer there (RFC 959, 3659)";
    Rnfr "RNFR" Nobody  Host    "the file to rename (RFC 959)";
    Rnto "RNTO" Nobody  Host    "its new name (RFC 959)";
    Abor "ABOR" Nobody  Gateway "end the transfer (RFC 959)";
    Dele "DELE" Nobody  Host    "delete a file (RFC 959)";
    Cwd  "CWD"  Nobody  Host    "change the directory (RFC 959)";
    Cdup "CDUP" Nobody  Host    "change to the parent directory (RFC 959)";
    Rmd  "RMD"  Nobody  Host    "remove a directory (RFC 959)";
    Mkd  "MKD"  Nobody  Host    "make a directory (RFC 959)";
    Pwd  "PWD"  Nobody  Host    "which directory is it (RFC 959)";
    List "LIST" Nobody  Host    "list files (RFC 959)";
    Nlst "NLST" Nobody  Host    "list names (RFC 959)";
    Site "SITE" Nobody  Host    "what this host alone has (RFC 959)";
    Syst "SYST" Nobody  Host    "which system is it (RFC 959)";
    Stat "STAT" Nobody  Host    "status, or a list on the control channel (RFC 959)";
    Help "HELP" Nobody  Host    "help (RFC 959)";
    Noop "NOOP" Host    Host    "nothing (RFC 959)";
    // RFC 775, 1123: the same in the words of older systems.
    Xcup "XCUP" Nobody  Host    "CDUP (RFC 775)";
    Xcwd "XCWD" Nobody  Host    "CWD (RFC 775)";
    Xmkd "XMKD" Nobody  Host    "MKD (RFC 775)";
    Xpwd "XPWD" Nobody  Host    "PWD (RFC 775)";
    Xrmd "XRMD" Nobody  Host    "RMD (RFC 775)";
    // RFC 1639, and extensions by which one host sends to another or changes sides in TLS.
    Lprt "LPRT" Nobody  Nobody  "PORT with long addresses (RFC 1639)";
    Lpsv "LPSV" Nobody  Nobody  "PASV with long addresses (RFC 1639)";
    Spsv "SPSV" Nobody  Nobody  "PASV for many transfers";
    Cpsv "CPSV" Nobody  Nobody  "PASV with the host as the client of TLS";
    Sscn "SSCN" Nobody  Nobody  "the host as the client of TLS";
    Xptl "XPTL" Nobody  Nobody  "transfers between hosts";
    // RFC 2228, 4217: security.
    Auth "AUTH" Host    Gateway "secure the connection (RFC 2228, 4217)";
    Adat "ADAT" Nobody  Nobody  "security data (RFC 2228)";
    Pbsz "PBSZ" Host    Gateway "the protection buffer's size (RFC 2228, 4217)";
    Prot "PROT" Host    Gateway "how data is protected (RFC 2228, 4217)";
    Ccc  "CCC"  Nobody  Nobody  "no more protection of commands (RFC 2228, 4217)";
    Mic  "MIC"  Nobody  Nobody  "a command with its integrity protected (RFC 2228)";
    Conf "CONF" Nobody  Nobody  "a command kept confidential (RFC 2228)";
    Enc  "ENC"  Nobody  Nobody  "a command with its privacy protected (RFC 2228)";
    // RFC 2389, 2640, 7151: what there is, and what is chosen.
    Feat "FEAT" Host    Gateway "which features are there (RFC 2389)";
    Opts "OPTS" Gateway Host    "an option of a command (RFC 2389)";
    Lang "LANG" Gateway Host    "the language of replies (RFC 2640)";
    Host "HOST" Gateway Gateway "the host by name (RFC 7151)";
    Clnt "CLNT" Gateway Host    "what the client is";
    Csid "CSID" Gateway Host    "what client and host are";
    // RFC 2428: data, for more than IPv4.
    Eprt "EPRT" Nobody  Gateway "connect there for data (RFC 2428)";
    Epsv "EPSV" Nobody  Gateway "listen for data (RFC 2428)";
    // RFC 3659, and what is like it.
    Mdtm "MDTM" Nobody  Host    "when was the file changed (RFC 3659)";
    Mlsd "MLSD" Nobody  Host    "list files for programs (RFC 3659)";
    Mlst "MLST" Nobody  Host    "facts of a file for programs (RFC 3659)";
    Size "SIZE" Nobody  Host    "how long is the file (RFC 3659)";
    Mfmt "MFMT" Nobody  Host    "set when the file was changed";
    Mfct "MFCT" Nobody  Host    "set when the file was made";
    Mff  "MFF"  Nobody  Host    "set facts of a file";
    Hash "HASH" Nobody  Host    "a hash of the file";
    Rang "RANG" Nobody  Host    "the part of the file that is meant";
    Xcrc "XCRC" Nobody  Host    "a checksum of the file";
    Xmd5 "XMD5" Nobody  Host    "an MD5 hash of the file";
    Xsha "XSHA" Nobody  Host    "a SHA-1 hash of the file";
    // IBM i.
    Addm "ADDM" Nobody  Host    "add a member to a physical file (IBM i)";
    Addv "ADDV" Nobody  Host    "add a member to a variable-length file (IBM i)";
    Crtl "CRTL" Nobody  Host    "create a library (IBM i)";
    Crtp "CRTP" Nobody  Host    "create a physical file (IBM i)";
    Crts "CRTS" Nobody  Host    "create a source physical file (IBM i)";
    Dbug "DBUG" Nobody  Host    "trace the server (IBM i)";
    Dltf "DLTF" Nobody  Host    "delete a file (IBM i)";
    Dltl "DLTL" Nobody  Host    "delete a library (IBM i)";
    Rcmd "RCMD" Nobody  Host    "run a CL command (IBM i)";
    Time "TIME" Nobody  Host    "set time-outs (IBM i)";
}

impl Verb {
    /// The verb of this word, in whatever case.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Self> {
        Self::ALL.iter().copied().find(|verb| verb.word().as_bytes().eq_ignore_ascii_case(word))
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
    fn before_admission_the_host_hears_nine_words() {
        let to = |reach| {
            let words = Verb::ALL.iter().filter(move |verb| verb.before_admission() == reach);
            words.map(|verb| verb.word()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(to(Reach::Host), "USER PASS ACCT QUIT NOOP AUTH PBSZ PROT FEAT");
        assert_eq!(to(Reach::Gateway), "REIN OPTS LANG HOST CLNT CSID");
    }

    #[test]
    fn what_changes_identity_security_or_data_never_passes() {
        let after = |reach| Verb::ALL.iter().filter(move |verb| verb.after_admission() == reach);
        let words = |reach| after(reach).map(|verb| verb.word()).collect::<Vec<_>>().join(" ");
        assert_eq!(words(Reach::Gateway), "USER PASS ACCT REIN QUIT PORT PASV ABOR AUTH PBSZ PROT FEAT HOST EPRT EPSV");
        assert_eq!(words(Reach::Nobody), "LPRT LPSV SPSV CPSV SSCN XPTL ADAT CCC MIC CONF ENC");
        assert!(after(Reach::Nobody).all(|verb| verb.before_admission() == Reach::Nobody));
    }

    #[test]
    fn transfers() {
        let transfers: Vec<_> = Verb::ALL.iter().filter(|verb| verb.transfers()).map(|verb| verb.word()).collect();
        assert_eq!(transfers, ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"]);
        assert!(transfers.iter().all(|word| !Verb::from_word(word.as_bytes()).unwrap().is_urgent()));
        assert!(Verb::Abor.is_urgent() && Verb::Noop.is_urgent());
    }
}
