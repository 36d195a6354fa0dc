//! The lists of guards against the sources: what is listed is there, once, with its tests.

use bukti_tests::guards::{list, workspace};

#[test]
fn every_listed_guard_is_where_the_list_says_with_tests_of_that_name() {
    let areas = list::read(&workspace()).unwrap();
    let count: usize = areas.iter().map(|area| area.guards.len()).sum();
    assert!(count > 100, "only {count} guards are listed");
    let faults = list::faults(&workspace(), &areas);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
