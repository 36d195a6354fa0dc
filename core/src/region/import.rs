//! Reading an official `code,name` file.

use std::collections::BTreeMap;

use super::{RegionRow, RegionSheet, sheet_parent};
use crate::limits;
use crate::scope::{RegionLevel, Scope};

/// A few real regions of three regencies, for demonstrations and tests.
pub fn example_csv() -> &'static [u8] {
    include_bytes!("../../examples/regions.csv")
}

/// A region file that cannot be imported: which file, which line, why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {fault}", .line.map(|line| format!(" line {line}")).unwrap_or_default())]
pub struct RegionError {
    /// The file as it was named.
    pub file: String,
    /// The line, counted from 1, where one is at fault.
    pub line: Option<u64>,
    /// What is wrong.
    pub fault: RegionFault,
}

/// What is wrong with a region file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegionFault {
    /// The name of the import is empty or too long.
    #[error(
        "the version of an import is 1 to {} bytes on one line",
        limits::REGIONS_VERSION_BYTES_MAX
    )]
    Version,
    /// The file is larger than any official one.
    #[error("the file has {0} bytes, more than {max}", max = limits::REGIONS_BYTES_MAX)]
    FileTooLarge(usize),
    /// The file is not text.
    #[error("not UTF-8")]
    NotUtf8,
    /// The first line does not name the columns.
    #[error("the first line must be code,name and is '{0}'")]
    Header(String),
    /// The file has a header at most.
    #[error("the file lists no region")]
    Empty,
    /// A line with more or fewer columns.
    #[error(
        "expected 2 columns, code and name, and found {0}; a name with a comma stands in quotes"
    )]
    Columns(usize),
    /// The code is none.
    #[error("'{0}' is not a region code: expected PP, PP.KK, PP.KK.CC or PP.KK.CC.VVVV in digits")]
    Code(String),
    /// The code stood on an earlier line.
    #[error("{code} stands on line {first} already")]
    Duplicate {
        /// The code.
        code: Scope,
        /// Where it stood first.
        first: u64,
    },
    /// The region above is not in the file.
    #[error("{code} is listed without its parent {parent}")]
    MissingParent {
        /// The region.
        code: Scope,
        /// What is missing.
        parent: Scope,
    },
    /// A region without a name.
    #[error("{0} has no name")]
    EmptyName(Scope),
    /// A name that is no name, as after a quote that is never closed.
    #[error("the name of {code} has {bytes} bytes, more than {max}", max = limits::REGION_NAME_BYTES_MAX)]
    LongName {
        /// The region.
        code: Scope,
        /// Length of its name.
        bytes: usize,
    },
    /// A name with a line break or another control character.
    #[error("the name of {0} holds a line break or another control character")]
    ControlCharacter(Scope),
    /// More below one parent than fits one signed record.
    #[error("the sheet of {parent} takes {bytes} bytes, more than {max}", max = limits::REGION_SHEET_BYTES_MAX)]
    SheetTooLarge {
        /// Whose sheet.
        parent: Scope,
        /// Its encoded length.
        bytes: usize,
    },
}

/// A region file that was read and found whole: every code once, every parent present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionImport {
    version: String,
    regions: usize,
    sheets: Vec<RegionSheet>,
}

struct Line {
    number: u64,
    name: String,
}

impl RegionImport {
    /// Reads the file called `name` as the import `version`.
    ///
    /// # Errors
    /// [`RegionError`] with the first fault. Nothing of a faulty file is imported.
    pub fn from_csv(name: &str, bytes: &[u8], version: &str) -> Result<Self, RegionError> {
        let fail = |line: Option<u64>, fault: RegionFault| RegionError {
            file: name.to_owned(),
            line,
            fault,
        };
        let version_ok = !version.trim().is_empty()
            && version.len() <= limits::REGIONS_VERSION_BYTES_MAX
            && !version.contains(char::is_control);
        if !version_ok {
            return Err(fail(None, RegionFault::Version));
        }
        let text = text(bytes).map_err(|(line, fault)| fail(line, fault))?;
        let lines = lines(text).map_err(|(line, fault)| fail(Some(line), fault))?;
        if lines.is_empty() {
            return Err(fail(None, RegionFault::Empty));
        }
        let sheets = sheets(&lines, version).map_err(|(line, fault)| fail(line, fault))?;
        Ok(Self {
            version: version.to_owned(),
            regions: lines.len(),
            sheets,
        })
    }

    /// The version under which the regions are imported.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How many regions the file lists.
    pub fn regions(&self) -> usize {
        self.regions
    }

    /// The sheets, broader ones first: provinces, then each province, then each regency. A
    /// province or regency with nothing below has a sheet as well, which retires what it had.
    pub fn sheets(&self) -> &[RegionSheet] {
        &self.sheets
    }

    /// The sheets, to be signed.
    pub fn into_sheets(self) -> Vec<RegionSheet> {
        self.sheets
    }
}

fn text(bytes: &[u8]) -> Result<&str, (Option<u64>, RegionFault)> {
    if bytes.len() > limits::REGIONS_BYTES_MAX {
        return Err((None, RegionFault::FileTooLarge(bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count() as u64;
        (Some(line), RegionFault::NotUtf8)
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn lines(text: &str) -> Result<BTreeMap<Scope, Line>, (u64, RegionFault)> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    let mut lines = BTreeMap::<Scope, Line>::new();
    let mut header_seen = false;
    while reader
        .read_record(&mut record)
        .expect("UTF-8 in memory with any number of columns always reads")
    {
        let number = record.position().map_or(0, csv::Position::line);
        if !header_seen {
            header(&record).map_err(|fault| (number, fault))?;
            header_seen = true;
            continue;
        }
        let (code, name) = row(&record).map_err(|fault| (number, fault))?;
        if let Some(first) = lines.get(&code) {
            let first = first.number;
            return Err((number, RegionFault::Duplicate { code, first }));
        }
        lines.insert(code, Line { number, name });
    }
    if !header_seen {
        return Err((1, RegionFault::Header(String::new())));
    }
    let orphan = lines
        .iter()
        .filter_map(|(code, line)| Some((line.number, code, code.parent()?)))
        .filter(|(_, _, parent)| !parent.is_all() && !lines.contains_key(parent))
        .min_by_key(|(number, _, _)| *number);
    match orphan {
        None => Ok(lines),
        Some((number, code, parent)) => {
            let code = code.clone();
            Err((number, RegionFault::MissingParent { code, parent }))
        }
    }
}

fn header(record: &csv::StringRecord) -> Result<(), RegionFault> {
    if record.iter().map(str::trim).eq(["code", "name"]) {
        return Ok(());
    }
    let found: Vec<&str> = record.iter().collect();
    Err(RegionFault::Header(shown(&found.join(","))))
}

/// Text of a file as it may stand in a message: short and on one line, whatever it holds.
fn shown(text: &str) -> String {
    let visible = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().take(80).map(visible).collect()
}

fn row(record: &csv::StringRecord) -> Result<(Scope, String), RegionFault> {
    let (Some(code), Some(name), 2) = (record.get(0), record.get(1), record.len()) else {
        return Err(RegionFault::Columns(record.len()));
    };
    let bad_code = || RegionFault::Code(shown(code));
    let scope: Scope = code.trim().parse().map_err(|_| bad_code())?;
    if scope.is_all() || scope.agency().is_some() {
        return Err(bad_code());
    }
    let name = name.trim();
    if name.is_empty() {
        return Err(RegionFault::EmptyName(scope));
    }
    if name.len() > limits::REGION_NAME_BYTES_MAX {
        let bytes = name.len();
        return Err(RegionFault::LongName { code: scope, bytes });
    }
    if name.contains(char::is_control) {
        return Err(RegionFault::ControlCharacter(scope));
    }
    Ok((scope, name.to_owned()))
}

type SheetFault = (Option<u64>, RegionFault);

fn sheets(lines: &BTreeMap<Scope, Line>, version: &str) -> Result<Vec<RegionSheet>, SheetFault> {
    let mut rows: BTreeMap<Scope, Vec<RegionRow>> = BTreeMap::from([(Scope::all(), Vec::new())]);
    for (code, line) in lines {
        if matches!(
            code.level(),
            Some(RegionLevel::Province | RegionLevel::Regency)
        ) {
            rows.entry(code.clone()).or_default();
        }
        let parent = sheet_parent(code).expect("a region code of an import has a sheet");
        rows.entry(parent).or_default().push(RegionRow {
            code: code.clone(),
            name: line.name.clone(),
        });
    }
    let mut sheets = Vec::with_capacity(rows.len());
    for (parent, rows) in rows {
        let sheet = RegionSheet {
            version: version.to_owned(),
            parent,
            rows,
        };
        let bytes = minicbor::to_vec(&sheet)
            .expect("writing to a vector cannot fail")
            .len();
        if bytes > limits::REGION_SHEET_BYTES_MAX {
            let line = lines.get(&sheet.parent).map(|line| line.number);
            let parent = sheet.parent;
            return Err((line, RegionFault::SheetTooLarge { parent, bytes }));
        }
        sheets.push(sheet);
    }
    sheets.sort_by_key(|sheet| sheet.parent.self_and_ancestors().count());
    Ok(sheets)
}
