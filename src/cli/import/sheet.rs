//! A CSV file (RFC 4180) whose first line names its columns, whatever each product calls them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use serde::Serialize;

/// Our names of columns, and those that other products' exports have. They are compared without case, blanks and signs.
const ALIASES: &[(&str, &[&str])] = &[
    ("user", &["user", "userid", "username", "userprofile", "profile", "usrprf", "name"]),
    (
        "address",
        &[
            "address",
            "contact",
            "destination",
            "email",
            "emailaddress",
            "mail",
            "phone",
            "phonenumber",
            "cell",
            "cellnumber",
            "cellphone",
            "mobile",
            "mobilenumber",
            "sms",
        ],
    ),
    ("carrier", &["carrier", "cellcarrier"]),
    ("provider", &["provider", "smsprovider"]),
    ("always", &["always", "always2fa", "alwaysrequired", "force2fa"]),
    ("comment", &["comment", "comments", "description", "text", "note", "department"]),
    ("network", &["network", "segment", "networksegment", "ip", "ipaddress", "block", "cidr", "range", "iprange"]),
    ("from", &["from", "fromip", "fromaddress", "ipfrom", "startip", "start", "lowip"]),
    ("to", &["to", "toip", "toaddress", "ipto", "endip", "end", "highip"]),
    ("treatment", &["treatment", "action"]),
    ("required", &["required", "2factorrequired", "twofactorrequired", "2farequired", "mfarequired"]),
    ("service", &["service", "server", "protocol"]),
    ("host", &["host", "system"]),
    ("days", &["days", "weekdays"]),
    ("hours", &["hours", "time"]),
    ("logging", &["logging", "log", "logginglevel", "loglevel"]),
    ("review", &["review", "reviewdate"]),
    ("enrolment", &["enrolment", "enrollment", "selfenroll", "selfenrol", "selfenrollment", "selfenrolment"]),
    ("repeat", &["repeat", "repeatminutes", "repeatperiod"]),
    ("factors", &["factors", "factor", "methods"]),
];

/// How much of a file is read.
const BYTES_MAX: u64 = 64 << 20;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Wrong {
    /// The line of the file, from 1.
    pub(super) line: u64,
    /// The column: its number, and what the file calls it.
    pub(super) column: String,
    /// What.
    pub(super) what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, what } = self;
        if column.is_empty() {
            write!(f, "line {line}: {what}")
        } else {
            write!(f, "line {line}, column {column}: {what}")
        }
    }
}

/// A file.
#[derive(Debug)]
pub(super) struct Sheet {
    /// Where each of our columns is.
    columns: BTreeMap<&'static str, usize>,
    headers: Vec<String>,
    records: Vec<(u64, csv::StringRecord)>,
    /// What is wrong so far.
    pub(super) wrong: Vec<Wrong>,
}

/// A line of it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    sheet: &'a Sheet,
    number: u64,
    record: &'a csv::StringRecord,
}

impl Sheet {
    /// Reads all of a file, which has at most `most` lines below its head.
    ///
    /// # Errors
    /// Where it has no head, or names a column twice or one that nobody knows, or is too long.
    pub(super) fn read(file: impl Read, most: usize) -> Result<Self, Wrong> {
        let whole = |line: u64, what: String| Wrong { line, column: String::new(), what };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| whole(1, error.to_string()))?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(whole(0, format!("more than {} MB; divide the file", BYTES_MAX >> 20)));
        }
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(bytes.as_slice());
        let mut lines = Lines { bytes: &bytes, at: 0, line: 1 };
        let headers: Vec<String> = match reader.headers() {
            Ok(headers) => headers.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()).collect(),
            Err(error) => return Err(whole(1, plain(&error))),
        };
        let mut columns = BTreeMap::new();
        for (index, header) in headers.iter().enumerate() {
            let place = |what: String| Wrong { line: 1, column: format!("{} ({header})", index + 1), what };
            let name = simple(header);
            let known = ALIASES.iter().find(|(_, names)| names.contains(&name.as_str()));
            let (ours, _) = known.ok_or_else(|| place("no column is called that; see docs/migration.md".to_owned()))?;
            if columns.insert(*ours, index).is_some() {
                return Err(place(format!("a second column for {ours}")));
            }
        }
        let mut sheet = Self { columns, headers, records: Vec::new(), wrong: Vec::new() };
        for record in reader.records() {
            match record {
                Ok(record) => {
                    let line = lines.of(record.position());
                    if record.len() != sheet.headers.len() {
                        let what = format!("{} values, and the head has {}", record.len(), sheet.headers.len());
                        sheet.wrong.push(whole(line, what));
                    } else if record.iter().any(|value| !value.is_empty()) {
                        sheet.records.push((line, record));
                    }
                }
                Err(error) => {
                    let line = lines.of(error.position());
                    sheet.wrong.push(whole(line, plain(&error)));
                }
            }
            if sheet.len() > most {
                return Err(whole(0, format!("more than {most} lines; divide the file")));
            }
        }
        Ok(sheet)
    }

    /// How many lines it has below its head.
    pub(super) fn len(&self) -> usize {
        self.records.len() + self.wrong.len()
    }

    /// The lines that could be read.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.records.iter().map(|(number, record)| Line { sheet: self, number: *number, record })
    }

    /// # Errors
    /// Where one of these columns is missing.
    pub(super) fn needs(&self, names: &[&'static str]) -> Result<(), Wrong> {
        names.iter().try_for_each(|name| self.needs_one_of(&[*name]))
    }

    /// # Errors
    /// Where all of these columns are missing.
    pub(super) fn needs_one_of(&self, names: &[&'static str]) -> Result<(), Wrong> {
        if names.iter().any(|name| self.columns.contains_key(name)) {
            return Ok(());
        }
        let what = format!("the head has no column {}; it has: {}", names.join(" or "), self.headers.join(", "));
        Err(Wrong { line: 1, column: String::new(), what })
    }
}

impl Line<'_> {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Whether the file has a column.
    pub(super) fn has(&self, column: &str) -> bool {
        self.sheet.columns.contains_key(column)
    }

    /// The value of a column; nothing where the file has no such column.
    pub(super) fn text(&self, column: &str) -> &str {
        self.sheet.columns.get(column).and_then(|index| self.record.get(*index)).unwrap_or_default()
    }

    /// What is wrong with a column of this line.
    pub(super) fn wrong(&self, column: &str, what: String) -> Wrong {
        // Of two columns that say the same, the one that is there.
        let other = match column {
            "network" => "from",
            "treatment" => "required",
            other => other,
        };
        let columns = &self.sheet.columns;
        let index = columns.get(column).or_else(|| columns.get(other));
        let column = index.map_or_else(
            || column.to_owned(),
            |index| format!("{} ({})", index + 1, self.sheet.headers.get(*index).map_or("", String::as_str)),
        );
        Wrong { line: self.number, column, what }
    }
}

/// Which line of the file a record begins in: the reader counts neither empty lines nor those within quotes.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// Positions come in order.
    fn of(&mut self, position: Option<&csv::Position>) -> u64 {
        let start = position.and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(self.at);
        let rest = self.bytes.get(start..).unwrap_or_default();
        let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let start = start + empty;
        let between = self.bytes.get(self.at..start).unwrap_or_default();
        self.line += between.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.at = start.max(self.at);
        self.line
    }
}

fn plain(error: &csv::Error) -> String {
    if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) {
        return "it is not UTF-8; save it as such".to_owned();
    }
    error.to_string()
}

/// A name without case, blanks and signs.
fn simple(name: &str) -> String {
    name.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Sheet, Wrong> {
        Sheet::read(text.as_bytes(), 5)
    }

    #[test]
    fn columns_are_found_whatever_they_are_called() {
        let text = "\u{feff}User Profile,E-Mail Address,Text\r\nANNA,\"a@example.com\",\"says \"\"hi\"\",\r\nand more\"\r\n\r\nBERT,b@example.com,\r\n";
        let sheet = read(text).unwrap();
        let lines: Vec<_> = sheet.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].text("user"), lines[0].text("address")), ("ANNA", "a@example.com"));
        assert_eq!(lines[0].text("comment"), "says \"hi\",\r\nand more");
        assert_eq!((lines[1].number(), lines[1].text("user"), lines[1].text("carrier")), (5, "BERT", ""));
        let wrong = lines[1].wrong("address", "x".to_owned());
        assert_eq!(wrong.to_string(), "line 5, column 2 (E-Mail Address): x");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        for (text, expected) in [
            ("user,colour\n", "line 1, column 2 (colour): no column is called that"),
            ("user,userid\n", "line 1, column 2 (userid): a second column for user"),
            ("user\nA\nB\nC\nD\nE\nF\n", "more than 5 lines"),
        ] {
            assert!(read(text).unwrap_err().to_string().contains(expected), "{text}");
        }
        let error = Sheet::read(std::io::repeat(b'a'), 5).unwrap_err().to_string();
        assert!(error.contains("more than 64 MB; divide the file"), "nothing is cut off: {}", error.len());
        let sheet = read("user,comment\nANNA\nBERT,x\nCARL,x,y\n").unwrap();
        let wrong: Vec<_> = sheet.wrong.iter().map(ToString::to_string).collect();
        assert_eq!(wrong, ["line 2: 1 values, and the head has 2", "line 4: 3 values, and the head has 2"]);
        let sheet = Sheet::read(&b"user\nANNA\n\xff\xfe\n"[..], 5).unwrap();
        assert_eq!(sheet.wrong[0].to_string(), "line 3: it is not UTF-8; save it as such");
        assert!(
            read("comment\n")
                .unwrap()
                .needs(&["user"])
                .unwrap_err()
                .to_string()
                .contains("no column user; it has: comment")
        );
    }
}
