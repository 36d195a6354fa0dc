//! Files that administrators import: frameworks, kinds of evidence, regions.

use bukti_core::framework::Framework;
use bukti_core::kind::Kinds;
use bukti_core::limits;
use bukti_core::region::{RegionImport, Regions};

use super::Took;

/// A framework file, and the same bytes as a list of evidence kinds.
///
/// # Panics
/// If a framework that was read does not read back the same from what it writes, or does not find
/// its own codes.
pub fn framework(bytes: &[u8]) -> Took {
    if let Err(error) = Kinds::from_json("kinds.json", bytes) {
        expect_one_line(&error.to_string());
    }
    let framework = match Framework::from_json("framework.json", bytes) {
        Ok(framework) => framework,
        Err(error) => {
            expect_one_line(&error.to_string());
            return Took::Refused;
        }
    };
    let written = framework.to_json();
    let again = Framework::from_json("framework.json", &written);
    assert_eq!(again.as_ref(), Ok(&framework), "what it writes reads back");
    assert_eq!(again.expect("it reads back").to_json(), written);
    for indicator in framework.indicators() {
        assert!(framework.find(&indicator.code).is_some());
    }
    for row in framework.rows() {
        assert!(framework.find(&row.code).is_some());
        assert!(framework.indicator_of(&row.code).is_some());
    }
    Took::Read
}

/// A region file.
///
/// # Panics
/// If a file that was read gives sheets that are too large, that do not hold all of its regions, or
/// that name one that cannot be found.
pub fn region(bytes: &[u8]) -> Took {
    let import = match RegionImport::from_csv("regions.csv", bytes, "2025") {
        Ok(import) => import,
        Err(error) => {
            expect_one_line(&error.to_string());
            return Took::Refused;
        }
    };
    let mut regions = Regions::new();
    let mut rows = 0;
    for sheet in import.sheets() {
        let encoded = minicbor::to_vec(sheet).expect("writing to a vector");
        assert!(encoded.len() <= limits::REGION_SHEET_BYTES_MAX);
        let again = minicbor::decode(&encoded);
        assert_eq!(again.as_ref().ok(), Some(sheet), "a sheet reads back");
        rows += sheet.rows.len();
        regions.apply(sheet);
        for row in &sheet.rows {
            assert_eq!(regions.name(&row.code), Some(row.name.as_str()));
        }
    }
    assert_eq!(rows, import.regions(), "every region is in one sheet");
    assert_eq!(regions.len(), import.regions());
    Took::Read
}

fn expect_one_line(text: &str) {
    assert!(
        !text.contains('\n') && !text.contains('\r'),
        "one line: {text:?}"
    );
}
