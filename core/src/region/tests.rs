use super::*;
use crate::limits;

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

fn import(csv: &str) -> Result<RegionImport, RegionError> {
    RegionImport::from_csv("regions.csv", csv.as_bytes(), "2025")
}

fn catalogue(imports: &[RegionImport]) -> Regions {
    let mut regions = Regions::new();
    for sheet in imports.iter().flat_map(RegionImport::sheets) {
        regions.apply(sheet);
    }
    regions
}

fn example() -> RegionImport {
    RegionImport::from_csv("regions.csv", example_csv(), "example").unwrap()
}

const SMALL: &str = "code,name\n13,Sumatera Barat\n13.76,Kota Payakumbuh\n\
                     13.76.01,Payakumbuh Barat\n13.76.01.1021,Ibuah\n";

#[test]
fn the_example_is_whole_and_has_places_below_and_beside() {
    let import = example();
    assert_eq!(import.regions(), 41);
    let regions = catalogue(std::slice::from_ref(&import));
    assert_eq!(regions.len(), import.regions());
    let provinces: Vec<&str> = regions
        .children(&Scope::all())
        .map(|(code, _)| code.as_str())
        .collect();
    assert_eq!(provinces, ["12", "13"]);
    let mut placements = Placements::default();
    assert_eq!(
        regions.path_name(&scope("13.76.01"), &placements),
        "Payakumbuh Barat, Kota Payakumbuh, Sumatera Barat"
    );
    assert_eq!(
        regions.path_name(&scope("13.76/dinkes"), &placements),
        "dinkes, Kota Payakumbuh, Sumatera Barat"
    );
    let unknown = regions.path_name(&scope("13.99"), &placements);
    assert_eq!(unknown, "13.99, Sumatera Barat");
    assert_eq!(regions.path_name(&Scope::all(), &placements), "all");
    let moved = placements.place(1, &scope("13.76.01"), &scope("13.07"));
    moved.unwrap();
    assert_eq!(
        regions.path_name(&scope("13.76.01.1021"), &placements),
        "Ibuah, Payakumbuh Barat, Kabupaten Lima Puluh Kota, Sumatera Barat"
    );
}

#[test]
fn an_import_is_cut_into_one_sheet_for_each_parent() {
    let cut: Vec<(String, Vec<String>)> = import(SMALL)
        .unwrap()
        .into_sheets()
        .into_iter()
        .map(|sheet| {
            assert_eq!(sheet.version, "2025");
            let codes = sheet.rows.iter().map(|row| row.code.to_string());
            (sheet.parent.to_string(), codes.collect())
        })
        .collect();
    let expected = [
        ("all", vec!["13"]),
        ("13", vec!["13.76"]),
        ("13.76", vec!["13.76.01", "13.76.01.1021"]),
    ]
    .map(|(parent, codes)| {
        let codes = codes.into_iter().map(str::to_owned).collect();
        (parent.to_owned(), codes)
    });
    assert_eq!(cut, expected);
}

#[test]
fn a_sheet_reads_back_from_its_stored_form() {
    for sheet in example().sheets() {
        let bytes = minicbor::to_vec(sheet).unwrap();
        assert_eq!(&minicbor::decode::<RegionSheet>(&bytes).unwrap(), sheet);
    }
}

#[test]
fn names_keep_commas_apostrophes_and_namesakes() {
    let csv = "\u{feff}code,name\r\n12,Sumatera Utara\r\n12.07,Kabupaten Deli Serdang\r\n\
               12.07.28,Lubuk Pakam\r\n12.07.28.1007,\"Lubuk Pakam I,II\"\r\n\
               12.07.28.2001,Regapu\u{2019}u\r\n12.07.28.2002,Regapu\u{2019}u\r\n";
    let regions = catalogue(&[import(csv).unwrap()]);
    assert_eq!(
        regions.name(&scope("12.07.28.1007")),
        Some("Lubuk Pakam I,II")
    );
    assert_eq!(
        regions.name(&scope("12.07.28.2001")),
        Some("Regapu\u{2019}u")
    );
    assert_eq!(
        regions.name(&scope("12.07.28.2002")),
        Some("Regapu\u{2019}u")
    );
}

#[test]
fn a_parent_may_stand_after_its_children() {
    let csv = "code,name\n13.76,Kota Payakumbuh\n13,Sumatera Barat\n";
    assert_eq!(import(csv).unwrap().regions(), 2);
}

#[test]
fn every_fault_names_file_line_and_reason() {
    let long = format!(
        "code,name\n13,{}\n",
        "x".repeat(limits::REGION_NAME_BYTES_MAX + 1)
    );
    for (csv, expected) in [
        (
            "",
            "regions.csv line 1: the first line must be code,name and is ''",
        ),
        (
            "kode;nama\n13;Sumatera Barat\n",
            "regions.csv line 1: the first line must be code,name and is 'kode;nama'",
        ),
        ("code,name\n", "regions.csv: the file lists no region"),
        (
            "code,name\n13,Sumatera Barat\n13.7,Kota Payakumbuh\n",
            "regions.csv line 3: '13.7' is not a region code: expected PP, PP.KK, PP.KK.CC or \
             PP.KK.CC.VVVV in digits",
        ),
        (
            "code,name\n13,Sumatera Barat\n13/dinkes,Dinas\n",
            "regions.csv line 3: '13/dinkes' is not a region code: expected PP, PP.KK, PP.KK.CC \
             or PP.KK.CC.VVVV in digits",
        ),
        (
            "code,name\nall,Indonesia\n",
            "regions.csv line 2: 'all' is not a region code: expected PP, PP.KK, PP.KK.CC or \
             PP.KK.CC.VVVV in digits",
        ),
        (
            "code,name\n13,Sumatera Barat\n12,Sumatera Utara\n13,Riau\n",
            "regions.csv line 4: 13 stands on line 2 already",
        ),
        (
            "code,name\n13,Sumatera Barat\n13.76.01,Payakumbuh Barat\n13.76.01.1021,Ibuah\n",
            "regions.csv line 3: 13.76.01 is listed without its parent 13.76",
        ),
        ("code,name\n13, \n", "regions.csv line 2: 13 has no name"),
        (
            "code,name\n13,Sumatera Barat\n13.76,Kota, Payakumbuh\n",
            "regions.csv line 3: expected 2 columns, code and name, and found 3; a name with a \
             comma stands in quotes",
        ),
        (
            "code,name\n13\n",
            "regions.csv line 2: expected 2 columns, code and name, and found 1; a name with a \
             comma stands in quotes",
        ),
        (
            "code,name\n13,\"Sumatera Barat\n13.76,Kota Payakumbuh\n",
            "regions.csv line 2: the name of 13 holds a line break or another control character",
        ),
        (
            long.as_str(),
            "regions.csv line 2: the name of 13 has 161 bytes, more than 160",
        ),
    ] {
        assert_eq!(import(csv).unwrap_err().to_string(), expected, "{csv}");
    }
}

#[test]
fn what_a_fault_repeats_of_the_file_is_short() {
    let long = "q".repeat(81);
    for csv in [
        format!("{long},name\n"),
        format!("code,name\n{long},Aceh\n"),
    ] {
        let said = import(&csv).unwrap_err().to_string();
        let repeated = said.chars().filter(|&letter| letter == 'q').count();
        assert_eq!(repeated, 80, "{said}");
    }
}

#[test]
fn an_agency_is_listed_by_no_sheet() {
    let mut regions = catalogue(&[import(SMALL).unwrap()]);
    let agency = scope("13.76/dinkes");
    regions.apply(&RegionSheet {
        version: "2026".into(),
        parent: scope("13.76"),
        rows: vec![RegionRow {
            code: agency.clone(),
            name: "Dinas Kesehatan".into(),
        }],
    });
    assert_eq!(regions.region(&agency), None);
    assert_eq!(regions.children(&scope("13.76")).count(), 1);
}

#[test]
fn what_a_fault_repeats_of_the_file_stays_on_one_line() {
    for csv in ["\"\u{1b}[2J\ncode\",name\n", "code,name\n\"1\n\r3\",Aceh\n"] {
        let said = import(csv).unwrap_err().to_string();
        assert!(!said.contains(char::is_control), "{said:?}");
    }
}

#[test]
fn text_that_is_not_utf8_names_its_line() {
    let error = RegionImport::from_csv("a.csv", b"code,name\n13,Sumatera\n12,\xff\n", "1");
    assert_eq!(error.unwrap_err().to_string(), "a.csv line 3: not UTF-8");
}

#[test]
fn a_file_a_version_or_a_sheet_beyond_its_limit_is_refused() {
    let huge = vec![b' '; limits::REGIONS_BYTES_MAX + 1];
    let error = RegionImport::from_csv("a.csv", &huge, "1").unwrap_err();
    assert_eq!(error.fault, RegionFault::FileTooLarge(huge.len()));

    for version in [
        "",
        " ",
        "a\nb",
        &"v".repeat(limits::REGIONS_VERSION_BYTES_MAX + 1),
    ] {
        let error = RegionImport::from_csv("a.csv", SMALL.as_bytes(), version).unwrap_err();
        assert_eq!(error.fault, RegionFault::Version, "{version:?}");
    }

    let mut csv = SMALL.to_owned();
    for village in 2000..2500 {
        let name = "n".repeat(limits::REGION_NAME_BYTES_MAX);
        csv.push_str(&format!("13.76.01.{village},{name}\n"));
    }
    let error = import(&csv).unwrap_err();
    assert!(
        matches!(error.fault, RegionFault::SheetTooLarge { ref parent, bytes }
            if *parent == scope("13.76") && bytes > limits::REGION_SHEET_BYTES_MAX),
        "{error}"
    );
    assert_eq!(error.line, Some(3));
}

#[test]
fn a_code_that_a_later_import_lacks_is_retired_with_all_below_and_keeps_its_name() {
    let later = "code,name\n13,Sumatera Barat\n13.07,Kabupaten Lima Puluh Kota\n";
    let regions = catalogue(&[import(SMALL).unwrap(), import(later).unwrap()]);
    let status = |code| regions.status(&scope(code));
    assert_eq!(status("13"), Some(RegionStatus::Active));
    assert_eq!(status("13.07"), Some(RegionStatus::Active));
    assert_eq!(status("13.76"), Some(RegionStatus::Retired));
    assert_eq!(status("13.76.01"), Some(RegionStatus::Retired));
    assert_eq!(status("13.76.01.1021"), Some(RegionStatus::Retired));
    assert_eq!(status("13.76/dinkes"), Some(RegionStatus::Retired));
    assert_eq!(status("13.76.02"), None);
    assert_eq!(status("12"), None);
    assert_eq!(status("all"), Some(RegionStatus::Active));
    assert_eq!(
        regions.path_name(&scope("13.76.01.1021"), &Placements::default()),
        "Ibuah, Payakumbuh Barat, Kota Payakumbuh, Sumatera Barat"
    );
}

#[test]
fn a_village_that_a_later_import_lacks_is_retired_alone_and_comes_back_when_listed() {
    let renamed = SMALL.replace("13.76.01.1021,Ibuah", "13.76.01.1022,Tanjuang Pauh");
    let renamed = RegionImport::from_csv("b.csv", renamed.as_bytes(), "2026").unwrap();
    let mut regions = catalogue(&[import(SMALL).unwrap(), renamed]);
    let ibuah = scope("13.76.01.1021");
    assert_eq!(regions.status(&ibuah), Some(RegionStatus::Retired));
    assert_eq!(regions.region(&ibuah).unwrap().version(), "2025");
    assert_eq!(
        regions.region(&scope("13.76.01")).unwrap().version(),
        "2026"
    );
    assert_eq!(regions.children(&scope("13.76.01")).count(), 2);

    for sheet in import(SMALL).unwrap().sheets() {
        regions.apply(sheet);
    }
    assert_eq!(regions.status(&ibuah), Some(RegionStatus::Active));
}

#[test]
fn a_regency_left_without_districts_retires_those_it_had() {
    let emptied = "code,name\n13,Sumatera Barat\n13.76,Kota Payakumbuh\n";
    let regions = catalogue(&[import(SMALL).unwrap(), import(emptied).unwrap()]);
    assert_eq!(regions.status(&scope("13.76")), Some(RegionStatus::Active));
    assert_eq!(
        regions.status(&scope("13.76.01.1021")),
        Some(RegionStatus::Retired)
    );
}

#[test]
fn a_sheet_speaks_only_for_its_own_parent() {
    let mut regions = catalogue(&[import(SMALL).unwrap()]);
    let row = |code: &str| RegionRow {
        code: scope(code),
        name: "Elsewhere".into(),
    };
    regions.apply(&RegionSheet {
        version: "odd".into(),
        parent: scope("12"),
        rows: ["12.07", "13.76", "12.07.28", "12.07/dinkes", "all"]
            .map(row)
            .into(),
    });
    assert_eq!(regions.name(&scope("13.76")), Some("Kota Payakumbuh"));
    assert_eq!(regions.name(&scope("12.07")), Some("Elsewhere"));
    assert_eq!(regions.len(), 5);
}

#[test]
fn the_code_alone_tells_the_type_of_a_unit() {
    for (code, expected) in [
        ("13", Some("province")),
        ("13.07", Some("regency")),
        ("13.70", Some("regency")),
        ("13.71", Some("city")),
        ("13.76", Some("city")),
        ("13.76.01", Some("district")),
        ("13.76.01.1021", Some("ward")),
        ("13.07.01.2001", Some("village")),
        ("91.03.01.3001", Some("customary_village")),
        ("13.07.01.4001", None),
        ("13.76/dinkes", Some("agency")),
        ("all", None),
    ] {
        assert_eq!(
            UnitType::of(&scope(code)).map(UnitType::as_str),
            expected,
            "{code}"
        );
    }
    for unit in UnitType::ALL {
        assert_eq!(unit.as_str().parse(), Ok(unit));
    }
    assert!("hamlet".parse::<UnitType>().is_err());
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the official file is not part of the project"
)]
fn the_official_file_is_read_whole_into_small_sheets() {
    let Ok(path) = std::env::var("BUKTI_REGIONS") else {
        println!("skipped: BUKTI_REGIONS is not set");
        return;
    };
    let bytes = std::fs::read(path).unwrap();
    let import = RegionImport::from_csv("regions.csv", &bytes, "official").unwrap();
    assert_eq!(import.regions(), 91_599);
    assert_eq!(import.sheets().len(), 1 + 38 + 514);
    for sheet in import.sheets() {
        let length = minicbor::to_vec(sheet).unwrap().len();
        assert!(
            length <= limits::REGION_SHEET_BYTES_MAX,
            "{}: {length}",
            sheet.parent
        );
    }
    let regions = catalogue(std::slice::from_ref(&import));
    assert_eq!(regions.len(), 91_599);
    let count = |unit| {
        regions
            .iter()
            .filter(|(code, _)| UnitType::of(code) == Some(unit))
            .count()
    };
    assert_eq!(count(UnitType::Province), 38);
    assert_eq!(count(UnitType::Regency) + count(UnitType::City), 514);
    assert_eq!(count(UnitType::District), 7_285);
    assert_eq!(
        count(UnitType::Ward) + count(UnitType::Village) + count(UnitType::CustomaryVillage),
        83_762
    );
    assert_eq!(
        regions.name(&scope("12.07.28.1007")),
        Some("Lubuk Pakam I,II")
    );
}
