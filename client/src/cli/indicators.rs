//! `bukti indicators`: what is asked for, what there is, and what is missing.

use bukti_client::device::Summary;
use bukti_command::show::{count, plain};
use bukti_command::{Column, Reply, Table};
use bukti_core::framework::{Framework, Weight};
use bukti_core::placement::Placements;
use bukti_core::scope::Scope;
use serde_json::{Value, json};

use super::choose;
use super::coverage::{IndicatorCoverage, Piece, RowCoverage, Totals, coverage};
use super::desk::{Desk, short};
use super::failure::Failure;
use super::line;
use super::state::state;
use super::words::shorten;

/// Characters of a title in a pipe, where no terminal bounds them.
const TITLE_IN_PIPE: usize = 60;

/// Characters that the other columns of the overview take, with the gaps between.
const OTHER_COLUMNS: usize = 53;

/// Characters of a title however narrow the terminal is.
const TITLE_MIN: usize = 20;

/// A title column of fewer characters takes two lines, so that titles that begin alike differ.
const TITLE_ON_ONE_LINE: usize = 48;

pub(super) fn run(desk: &mut Desk<'_>, typed: &line::Indicators) -> Result<Reply, Failure> {
    let in_use = desk.device.frameworks()?;
    let scopes = scopes(desk, typed.region.as_deref())?;
    let codes: Vec<String> = typed.code.iter().cloned().collect();
    let framework = choose::framework_of_any(typed.framework.as_ref(), &scopes, &codes, &in_use)?;
    let placements = desk.device.placements().clone();
    let summaries: Vec<Summary> = desk
        .device
        .list()?
        .into_iter()
        .filter(|summary| is_for(summary, framework, &scopes, &placements))
        .collect();
    let latest = summaries.iter().filter_map(|summary| summary.cycle).max();
    let cycle = typed.cycle.map(i64::from).or(latest);
    let (counted, other): (Vec<Summary>, Vec<Summary>) = summaries
        .into_iter()
        .partition(|summary| summary.cycle == cycle);
    let pieces: Vec<Piece> = counted.iter().map(piece).collect();
    let mut coverage = coverage(framework, &pieces);
    let asked = typed.code.as_deref();
    if let Some(code) = asked {
        keep_only(&mut coverage, framework, code)?;
    }
    let sheet = Sheet {
        framework,
        cycle,
        scopes: &scopes,
        other_years: other.len(),
        coverage,
    };
    Ok(match asked {
        None => desk.answer(&sheet.overview_json(), || sheet.overview(desk.columns)),
        Some(_) => desk.answer(&sheet.rows_json(), || sheet.rows(desk.columns)),
    })
}

/// Where to look: the region named, or everything that the grants reach.
fn scopes(desk: &Desk<'_>, region: Option<&str>) -> Result<Vec<Scope>, Failure> {
    if let Some(region) = region {
        return Ok(vec![region.parse().map_err(Failure::wrong)?]);
    }
    let mut scopes: Vec<Scope> = desk
        .device
        .grants()
        .iter()
        .map(|grant| grant.scope.clone())
        .collect();
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

fn is_for(
    summary: &Summary,
    framework: &Framework,
    scopes: &[Scope],
    placements: &Placements,
) -> bool {
    let supports = summary
        .framework
        .as_ref()
        .is_some_and(|at| at.id == framework.id() && at.version == framework.version());
    let lineage = placements.lineage(&summary.scope);
    supports && scopes.iter().any(|scope| lineage.is_below(scope))
}

fn piece(summary: &Summary) -> Piece {
    Piece {
        id: summary.id,
        title: summary.title.clone(),
        rows: summary.rows.clone(),
        declared: summary.declared,
        state: state(summary),
    }
}

/// Leaves what `code` names: the indicators of a component, one indicator, or one row.
fn keep_only(
    coverage: &mut Vec<IndicatorCoverage<'_>>,
    framework: &Framework,
    code: &str,
) -> Result<(), Failure> {
    if framework.find(code).is_none() {
        choose::supportable(framework, code)?;
    }
    let indicator = framework
        .indicator_of(code)
        .map(|indicator| indicator.code.as_str());
    coverage.retain(|at| match indicator {
        Some(indicator) => at.indicator.code == indicator,
        None => framework
            .component_of(&at.indicator.code)
            .is_some_and(|component| component.code == code),
    });
    if indicator.is_some_and(|indicator| indicator != code) {
        for at in coverage {
            at.rows.retain(|row| row.code == code);
        }
    }
    Ok(())
}

struct Sheet<'a> {
    framework: &'a Framework,
    cycle: Option<i64>,
    scopes: &'a [Scope],
    /// Evidence of other cycles, which is not counted.
    other_years: usize,
    coverage: Vec<IndicatorCoverage<'a>>,
}

impl Sheet<'_> {
    fn overview(&self, columns: Option<u16>) -> String {
        let has_weights = self
            .coverage
            .iter()
            .any(|at| at.indicator.weight.official().is_some());
        let title_max = columns.map_or(TITLE_IN_PIPE, title_characters);
        let mut headings = vec![Column::text("Code"), Column::text("Indicator")];
        headings.extend(has_weights.then(|| Column::number("Weight")));
        headings.extend(["Rows", "Evidence", "No ready", "None"].map(Column::number));
        let mut table = Table::new(headings);
        let mut row = |code: &str, title: String, weight: String, numbers: [usize; 4]| {
            let mut cells = vec![code.to_owned(), title];
            cells.extend(has_weights.then_some(weight));
            cells.extend(numbers.map(|number| number.to_string()));
            table.row(cells);
        };
        for at in &self.coverage {
            let numbers = [
                at.indicator.rows.len(),
                at.evidence.len(),
                at.without_ready().len(),
                at.without_any().len(),
            ];
            let title = shorten(at.indicator.title.english(), title_max);
            row(
                &at.indicator.code,
                title,
                points(&at.indicator.weight),
                numbers,
            );
        }
        let totals = Totals::of(&self.coverage);
        let numbers = [
            self.coverage.iter().map(|at| at.indicator.rows.len()).sum(),
            totals.evidence,
            totals.without_ready,
            totals.without_any,
        ];
        row("", "Total".to_owned(), self.total_weight(), numbers);
        format!(
            "{}\n{}\n{}",
            self.heading(),
            table.draw(columns),
            self.footer(&totals)
        )
    }

    fn heading(&self) -> String {
        let cycle = self
            .cycle
            .map_or("no evidence yet".to_owned(), |year| format!("cycle {year}"));
        let scopes: Vec<&str> = self.scopes.iter().map(Scope::as_str).collect();
        plain(&format!(
            "{}, {}, {cycle}",
            self.framework.reference(),
            scopes.join(" ")
        )) + "\n"
    }

    fn footer(&self, totals: &Totals) -> String {
        let mut text = format!(
            "{} of {} have evidence that is ready, {} have none at all.\n",
            totals.rows - totals.without_ready,
            count(totals.rows, "row"),
            totals.without_any
        );
        if self.other_years > 0 {
            text.push_str(&format!(
                "{} of other cycles not counted: see --cycle.\n",
                count(self.other_years, "piece")
            ));
        }
        text
    }

    /// A sum that leaves out what is not published would mislead.
    fn total_weight(&self) -> String {
        let official: Option<f64> = self
            .coverage
            .iter()
            .map(|at| at.indicator.weight.official())
            .sum();
        official.map_or("–".to_owned(), |sum| sum.to_string())
    }

    fn overview_json(&self) -> Value {
        let indicators: Vec<Value> = self
            .coverage
            .iter()
            .map(|at| {
                json!({
                    "code": at.indicator.code,
                    "title": at.indicator.title,
                    "weight": at.indicator.weight.official(),
                    "rows": at.indicator.rows.len(),
                    "evidence": at.evidence.len(),
                    "without_ready": at.without_ready(),
                    "without_evidence": at.without_any(),
                })
            })
            .collect();
        json!({
            "framework": self.framework.reference(),
            "cycle": self.cycle,
            "scopes": self.scopes,
            "indicators": indicators,
            "totals": Totals::of(&self.coverage),
            "other_cycles": self.other_years,
        })
    }

    fn rows(&self, columns: Option<u16>) -> String {
        let mut text = self.heading();
        for at in &self.coverage {
            let title = plain(&format!(
                "{} {}",
                at.indicator.code,
                at.indicator.title.english()
            ));
            text.push_str(&format!("\n{title}\n\n"));
            let mut table =
                Table::new(["Row", "Asks for", "Id", "Evidence", "State"].map(Column::text));
            for row in &at.rows {
                add_row(&mut table, row);
            }
            text.push_str(&table.draw(columns));
        }
        format!("{text}\n{}", self.footer(&Totals::of(&self.coverage)))
    }

    fn rows_json(&self) -> Value {
        let rows = self.coverage.iter().flat_map(|at| &at.rows).map(|row| {
            let evidence: Vec<Value> = row
                .pieces
                .iter()
                .map(|piece| {
                    json!({
                        "id": piece.id.to_string(),
                        "title": piece.title,
                        "declared": piece.declared,
                        "shown_as": piece.state,
                    })
                })
                .collect();
            json!({ "code": row.code, "title": row.title, "evidence": evidence })
        });
        json!({
            "framework": self.framework.reference(),
            "cycle": self.cycle,
            "scopes": self.scopes,
            "rows": rows.collect::<Vec<_>>(),
            "totals": Totals::of(&self.coverage),
            "other_cycles": self.other_years,
        })
    }
}

/// How much of a title fits a terminal; two lines lose some of their room where they wrap.
fn title_characters(columns: u16) -> usize {
    match usize::from(columns).saturating_sub(OTHER_COLUMNS) {
        narrow @ ..TITLE_ON_ONE_LINE => (2 * narrow).saturating_sub(3).max(TITLE_MIN),
        wide => wide,
    }
}

fn add_row(table: &mut Table, row: &RowCoverage<'_>) {
    let mut asked = [row.code, row.title];
    if row.pieces.is_empty() {
        table.row([row.code, row.title, "–", "", ""]);
    }
    for piece in &row.pieces {
        let id = short(&piece.id);
        table.row([asked[0], asked[1], &id, &piece.title, piece.state]);
        asked = ["", ""];
    }
}

fn points(weight: &Weight) -> String {
    weight
        .official()
        .map_or("–".to_owned(), |points| points.to_string())
}
