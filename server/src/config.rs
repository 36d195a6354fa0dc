//! What the server can be told, from a file, the environment and flags.
//!
//! Later beats earlier: defaults, then the TOML file of `--config`, then `BUKTI_…` variables, then
//! flags. An unknown key in the file is an error, so that a typing mistake never becomes a default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// Bytes of a configuration: the example with every key has 2 KiB.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The file is not such a configuration.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and where, in one line.
        reason: String,
    },
    /// A variable of the environment cannot be understood.
    #[error("{name}={text}: expected {expected}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// Its text.
        text: String,
        /// What a right one looks like.
        expected: &'static str,
    },
    /// A number that no server can work with.
    #[error("{key} = {value}: expected a number from {least} to {most}")]
    Range {
        /// Its key.
        key: &'static str,
        /// What was given.
        value: u64,
        /// The least that is taken.
        least: u64,
        /// The most that is taken.
        most: u64,
    },
    /// Plain HTTP would leave the machine.
    #[error(
        "listening on {address} would carry evidence over the network in plain HTTP: listen on \
         127.0.0.1 behind a TLS proxy, or set behind_tls_proxy if {address} is reached through one only"
    )]
    PlainHttp {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The public address is not a web address.
    #[error(
        "'{text}' is not a public address: expected http:// or https:// and a host, such as https://bukti.example"
    )]
    PublicUrl {
        /// What was given.
        text: String,
    },
}

/// Everything the server can be told. `server.example.toml` shows each key with its default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where devices connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where Prometheus reads metrics; none if absent.
    pub metrics_listen: Option<SocketAddr>,
    /// The address in invitation links; by default `http://LISTEN`.
    pub public_url: Option<String>,
    /// A TLS proxy is in front, so listening beyond this machine is meant.
    pub behind_tls_proxy: bool,
    /// Browser origins that may open a WebSocket, exactly as browsers send them. Programs send
    /// none and are let in.
    pub origins: Vec<String>,
    /// Connections at once, and from one address. Behind a proxy all share the proxy's address.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
    /// Connections at once of one device; the oldest gives way.
    pub connections_per_device_max: usize,
    /// Seconds for the HTTP head and the upgrade.
    pub handshake_timeout_s: u64,
    /// Seconds between pings; a peer that answers none in as long again is dropped.
    pub ping_interval_s: u64,
    /// Seconds for sessions to end at shutdown.
    pub shutdown_timeout_s: u64,
    /// MiB of loaded documents that stay in memory.
    pub document_cache_mib: usize,
    /// MiB of sled pages that stay in memory.
    pub store_cache_mib: u64,
    /// MiB of a journal segment, at most 64.
    pub segment_mib: u64,
    /// MiB of free disk below which writes are answered `full`.
    pub reserve_mib: u64,
    /// KiB a second that the scrub reads of the journal; 0 turns it off.
    pub scrub_kib_per_s: u64,
    /// Seconds from the start of one pass of the scrub to that of the next.
    pub scrub_interval_s: u64,
    /// Least grave log lines shown: error, warn, info, debug or trace.
    pub log: LogLevel,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures of the server.
    Error,
    /// And what should be looked at.
    Warn,
    /// And starts, stops and administration.
    Info,
    /// And every session.
    Debug,
    /// And every frame's type.
    Trace,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8420)),
            metrics_listen: None,
            public_url: None,
            behind_tls_proxy: false,
            origins: Vec::new(),
            connections_max: 10_000,
            connections_per_address_max: 10_000,
            connections_per_device_max: 4,
            handshake_timeout_s: 10,
            ping_interval_s: 30,
            shutdown_timeout_s: 10,
            document_cache_mib: 64,
            store_cache_mib: 64,
            segment_mib: 16,
            reserve_mib: 256,
            scrub_kib_per_s: 2_048,
            scrub_interval_s: 86_400,
            log: LogLevel::Info,
        }
    }
}

/// What flags say; each beats everything else.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--metrics-listen`
    pub metrics_listen: Option<SocketAddr>,
    /// `--public-url`
    pub public_url: Option<String>,
    /// `--log`
    pub log: Option<LogLevel>,
}

impl Config {
    /// Puts defaults, file, environment and flags together.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, variable or value and what was expected.
    pub fn assemble(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
        flags: Flags,
    ) -> Result<Self, ConfigError> {
        let mut config = match file {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        config.take_environment(environment)?;
        let Flags {
            listen,
            metrics_listen,
            public_url,
            log,
        } = flags;
        config.listen = listen.unwrap_or(config.listen);
        config.metrics_listen = metrics_listen.or(config.metrics_listen);
        config.public_url = public_url.or(config.public_url);
        config.log = log.unwrap_or(config.log);
        config.check()?;
        Ok(config)
    }

    /// The same for a command that runs while no server serves: the file, and defaults. It does not
    /// listen, and what the environment says is about that.
    ///
    /// # Errors
    /// As [`Self::assemble`].
    pub fn of_stopped(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::assemble(file, |_| None, Flags::default())
    }

    /// Time between pings.
    pub fn ping_interval(&self) -> Duration {
        Duration::from_secs(self.ping_interval_s.max(1))
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let unread = |cause| ConfigError::Read {
            path: path.to_owned(),
            cause,
        };
        let bytes = bukti_command::read_named(path, FILE_BYTES_MAX).map_err(unread)?;
        let invalid = |error| unread(std::io::Error::new(std::io::ErrorKind::InvalidData, error));
        let text = String::from_utf8(bytes).map_err(|error| invalid(error.utf8_error()))?;
        toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map(|span| text[..span.start].matches('\n').count() + 1);
            let message = error.message().replace('\n', " ");
            let reason = match line {
                Some(line) => format!("line {line}: {message}"),
                None => message,
            };
            ConfigError::File {
                path: path.to_owned(),
                reason,
            }
        })
    }

    fn take_environment(
        &mut self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        if let Some(text) = environment("BUKTI_LISTEN") {
            self.listen = parse_address("BUKTI_LISTEN", &text)?;
        }
        if let Some(text) = environment("BUKTI_METRICS_LISTEN") {
            self.metrics_listen = Some(parse_address("BUKTI_METRICS_LISTEN", &text)?);
        }
        if let Some(text) = environment("BUKTI_PUBLIC_URL") {
            self.public_url = Some(text);
        }
        if let Some(text) = environment("BUKTI_LOG") {
            self.log =
                clap::ValueEnum::from_str(&text, true).map_err(|_| ConfigError::Variable {
                    name: "BUKTI_LOG",
                    text,
                    expected: "error, warn, info, debug or trace",
                })?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        for address in [Some(self.listen), self.metrics_listen]
            .into_iter()
            .flatten()
        {
            if !address.ip().is_loopback() && !self.behind_tls_proxy {
                return Err(ConfigError::PlainHttp { address });
            }
        }
        let numbers = [
            ("connections_max", self.connections_max as u64, 1, 1_000_000),
            (
                "connections_per_address_max",
                self.connections_per_address_max as u64,
                1,
                1_000_000,
            ),
            (
                "connections_per_device_max",
                self.connections_per_device_max as u64,
                1,
                1_000,
            ),
            ("handshake_timeout_s", self.handshake_timeout_s, 1, 3_600),
            ("ping_interval_s", self.ping_interval_s, 1, 3_600),
            ("shutdown_timeout_s", self.shutdown_timeout_s, 1, 3_600),
            (
                "document_cache_mib",
                self.document_cache_mib as u64,
                1,
                1_048_576,
            ),
            ("store_cache_mib", self.store_cache_mib, 1, 1_048_576),
            ("segment_mib", self.segment_mib, 1, 64),
            ("reserve_mib", self.reserve_mib, 0, 1_048_576),
            ("scrub_kib_per_s", self.scrub_kib_per_s, 0, 16_777_216),
            ("scrub_interval_s", self.scrub_interval_s, 1, 31_536_000),
        ];
        for (key, value, least, most) in numbers {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::Range {
                    key,
                    value,
                    least,
                    most,
                });
            }
        }
        if let Some(text) = &self.public_url {
            let host = text
                .strip_prefix("https://")
                .or_else(|| text.strip_prefix("http://"));
            let good = host.is_some_and(|host| {
                !host.is_empty() && !host.contains(['#', '?', ' ']) && !host.starts_with('/')
            });
            if !good {
                return Err(ConfigError::PublicUrl { text: text.clone() });
            }
        }
        Ok(())
    }
}

fn parse_address(name: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| ConfigError::Variable {
        name,
        text: text.to_owned(),
        expected: "an address and port such as 127.0.0.1:8420",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn the_example_shows_every_key_with_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("server.example.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
        let lines = text.lines().map(|line| line.trim_start_matches("# "));
        let shown: Vec<&str> = lines
            .filter_map(|line| Some(line.split_once(" = ")?.0))
            .collect();
        // Whoever gives a key that there is not is told all that there are.
        let unknown = toml::from_str::<Config>("no_such_key = 1").unwrap_err();
        let (_, keys) = unknown.message().split_once("expected one of").unwrap();
        let keys: Vec<&str> = keys.split('`').skip(1).step_by(2).collect();
        assert!(keys.len() > 10, "{keys:?}");
        for key in keys {
            assert!(shown.contains(&key), "{key} is not shown");
        }
    }

    #[test]
    fn flags_beat_the_environment_which_beats_the_file() {
        let (_folder, path) = written("listen = '127.0.0.1:1'\nlog = 'warn'\nsegment_mib = 4\n");
        let environment = |name: &str| match name {
            "BUKTI_LISTEN" => Some("127.0.0.1:2".to_owned()),
            "BUKTI_LOG" => Some("debug".to_owned()),
            _ => None,
        };
        let flags = Flags {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 3))),
            ..Flags::default()
        };
        let config = Config::assemble(Some(&path), environment, flags).unwrap();
        assert_eq!(
            (config.listen.port(), config.log, config.segment_mib),
            (3, LogLevel::Debug, 4)
        );
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        let (_folder, path) = written("log = 'warn'\nlisten_on = '127.0.0.1:1'\n");
        let error = Config::assemble(Some(&path), nothing, Flags::default()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("line 2") && text.contains("listen_on"),
            "{text}"
        );
    }

    #[test]
    fn a_number_out_of_its_range_is_refused_with_the_range() {
        for wrong in [
            "segment_mib = 65",
            "segment_mib = 0",
            "connections_max = 0",
            "ping_interval_s = 0",
            "connections_max = 4611686018427387904",
            "reserve_mib = 99999999",
            "scrub_kib_per_s = 16777217",
            "scrub_interval_s = 0",
        ] {
            let (_folder, path) = written(wrong);
            let error = Config::assemble(Some(&path), nothing, Flags::default()).unwrap_err();
            assert!(
                matches!(error, ConfigError::Range { .. }),
                "{wrong}: {error}"
            );
        }
    }

    #[test]
    fn plain_http_never_leaves_the_machine_unasked() {
        let flags = Flags {
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 80))),
            ..Flags::default()
        };
        let error = Config::assemble(None, nothing, flags).unwrap_err();
        assert!(matches!(error, ConfigError::PlainHttp { .. }), "{error}");
    }
}
