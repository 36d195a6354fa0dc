//! The command line of `bukti-server`.

use std::net::SocketAddr;
use std::path::PathBuf;

use bukti_command::Common;
use bukti_core::authority::Role;
use bukti_core::scope::Scope;
use clap::{Parser, Subcommand};

use crate::config::LogLevel;

/// Keeps evidence and merges what devices send.
#[derive(Debug, Clone, Parser)]
#[command(name = "bukti-server", version)]
pub struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
    /// Configuration file (TOML) of `serve`; other commands need it while no server serves the folder
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the server can be asked to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve devices until stopped
    Serve(Serve),
    /// Invite a person to enrol one device
    Invite(Invite),
    /// List enrolled devices and open invitations
    Devices,
    /// Add grants to a device, or remove them
    Grant(Granting),
    /// Put a unit that a decree moved under another region, or list the units that were moved
    Move(Moving),
    /// End a device: its sessions close, and what it has not delivered is not taken any more
    Revoke {
        /// Device id, or its first characters if no other begins so
        device: String,
    },
    /// Let a device receive that came back after a loss with nothing but its certificate
    Confirm {
        /// Device id, or its first characters if no other begins so
        device: String,
    },
    /// Import regions or a framework
    #[command(subcommand)]
    Import(Import),
    /// Check every byte of the journal and everything derived from it
    Verify,
    /// Throw away everything derived and build it again from the journal (server stopped)
    Rebuild {
        /// Go on although the journal lacks records that once were accepted; the loss is recorded
        #[arg(long)]
        accept_loss: bool,
    },
    /// Put damaged bytes of the journal back from a backup (server stopped)
    Repair {
        /// Folder that backup made
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
    /// Show what the server holds
    Status,
    /// List what should not be: forks, damage, what was cut or lost
    Findings(Findings),
    /// Copy journal and files to a folder; the key is not copied
    Backup {
        /// New or empty folder, or an earlier backup of this server, to which only what is new goes
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Make a data folder from a backup (server stopped)
    Restore {
        /// Folder that backup made
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The server's key, kept apart from backups
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Go on although backup.json is lost or damaged, which alone says where the backup ended
        #[arg(long)]
        without_manifest: bool,
    },
}

/// Options of `serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    /// Address and port for devices; port 0 takes a free one [default: 127.0.0.1:8420]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address and port for Prometheus
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<SocketAddr>,
    /// Address in invitation links [default: http://LISTEN]
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// The server's key [default: DATA/server.key]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Least grave log lines shown
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<LogLevel>,
}

/// Options of `invite`.
#[derive(Debug, Clone, clap::Args)]
pub struct Invite {
    /// officer, unit-head, verifier, assessor, administrator or observer
    #[arg(long)]
    pub role: Role,
    /// Region code, agency such as 13.76/dinkes, or all; several are possible
    #[arg(long = "region", value_name = "SCOPE", required = true, num_args = 1..)]
    pub regions: Vec<Scope>,
    /// The person's name
    #[arg(long, value_name = "PERSON")]
    pub name: String,
    /// How long the invitation holds: 15m to 7d
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_expiry)]
    pub expires: Expiry,
}

/// Options of `grant`.
#[derive(Debug, Clone, clap::Args)]
pub struct Granting {
    /// Device id, or its first characters if no other begins so
    pub device: String,
    /// officer, unit-head, verifier, assessor, administrator or observer
    #[arg(long)]
    pub role: Role,
    /// Region code, agency such as 13.76/dinkes, or all; several are possible
    #[arg(long = "region", value_name = "SCOPE", required = true, num_args = 1..)]
    pub regions: Vec<Scope>,
    /// Remove exactly these grants instead of adding them
    #[arg(long)]
    pub remove: bool,
}

/// Options of `move`.
#[derive(Debug, Clone, clap::Args)]
pub struct Moving {
    /// Code of a village or other region, or an agency such as 13.76/dinkes
    #[arg(value_name = "CODE", requires = "to")]
    pub unit: Option<Scope>,
    /// The region that it stands under from here on
    #[arg(long, value_name = "PARENT", requires = "unit")]
    pub to: Option<Scope>,
}

/// Options of `findings`.
#[derive(Debug, Clone, clap::Args)]
pub struct Findings {
    /// Record of a finding that you have looked into
    #[arg(long, value_name = "RECORD", requires = "note", value_parser = parse_record)]
    pub acknowledge: Option<u64>,
    /// What you found or did, in a sentence; it is kept in the journal
    #[arg(long, value_name = "TEXT", requires = "acknowledge")]
    pub note: Option<String>,
}

/// How long an invitation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// In milliseconds.
    pub ms: i64,
}

/// What can be imported.
#[derive(Debug, Clone, Subcommand)]
pub enum Import {
    /// Official region codes: a CSV file with the columns code,name
    Regions {
        /// The file
        file: PathBuf,
        /// The decree that the codes are from
        #[arg(long, value_name = "DECREE")]
        version: Option<String>,
    },
    /// A programme's framework: a JSON file
    Framework {
        /// The file
        file: PathBuf,
    },
}

fn parse_record(text: &str) -> Result<u64, String> {
    let parsed = text.parse();
    parsed.map_err(|_| "expected a record's number from 'bukti-server findings'".to_owned())
}

const MINUTE_MS: i64 = 60_000;
const EXPIRY_MIN_MS: i64 = 15 * MINUTE_MS;
const EXPIRY_MAX_MS: i64 = 7 * 24 * 60 * MINUTE_MS;

fn parse_expiry(text: &str) -> Result<Expiry, String> {
    let wrong = || "expected a time from 15m to 7d, such as 90m, 12h or 7d".to_owned();
    let split = text
        .len()
        .checked_sub(1)
        .filter(|&end| text.is_char_boundary(end))
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let unit_ms = match unit {
        "m" => MINUTE_MS,
        "h" => 60 * MINUTE_MS,
        "d" => 24 * 60 * MINUTE_MS,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let ms = i64::from(number) * unit_ms;
    if (EXPIRY_MIN_MS..=EXPIRY_MAX_MS).contains(&ms) {
        Ok(Expiry { ms })
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_invitation_holds_from_15_minutes_to_7_days() {
        assert_eq!(parse_expiry("15m"), Ok(Expiry { ms: EXPIRY_MIN_MS }));
        assert_eq!(parse_expiry("7d"), Ok(Expiry { ms: EXPIRY_MAX_MS }));
        for wrong in [
            "",
            "14m",
            "8d",
            "7",
            "d",
            "-1d",
            "1w",
            "١d",
            "1.5h",
            "99999999999d",
        ] {
            assert!(parse_expiry(wrong).is_err(), "{wrong}");
        }
    }
}
