//! Where the links of invitations lead, and how that is known.

use crate::folder::{Folder, FolderError};

/// Where links lead while no server ever said where it is reached.
const URL_DEFAULT: &str = "http://127.0.0.1:8420";

/// Where links lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Links {
    /// To the address of a server that serves or served here, or that is configured.
    To(String),
    /// To the default address: nobody ever said where this server is reached.
    Default,
    /// Nowhere: somebody else wrote the address of the last start.
    Altered,
}

impl Links {
    /// Of a folder that nobody serves: to where the last start led them, else to the configured
    /// address.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn of_stopped(folder: &Folder, configured: Option<&str>) -> Result<Self, FolderError> {
        let configured = configured.map(|url| Self::To(url.to_owned()));
        match folder.last_url() {
            Ok(Some(url)) => Ok(Self::To(url)),
            Ok(None) => Ok(configured.unwrap_or(Self::Default)),
            Err(FolderError::Altered(_)) => Ok(configured.unwrap_or(Self::Altered)),
            Err(error) => Err(error),
        }
    }

    /// The address, unless links lead nowhere.
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::To(url) => Some(url),
            Self::Default => Some(URL_DEFAULT),
            Self::Altered => None,
        }
    }

    /// In a word, for programs.
    pub fn known_by(&self) -> &'static str {
        match self {
            Self::To(_) => "server",
            Self::Default => "default",
            Self::Altered => "altered",
        }
    }

    /// What whoever uses the address has to know.
    pub fn caution(&self) -> Option<&'static str> {
        match self {
            Self::To(_) => None,
            Self::Default => Some(
                "the default address, since no server was started in this folder yet; if it is \
                 reached elsewhere, start it with --public-url",
            ),
            Self::Altered => Some(
                "the file public-url was altered and is not used; the next start writes it again",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn links_lead_where_the_last_start_said_then_where_configured_and_never_where_somebody_wrote() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        let links = |configured| Links::of_stopped(&folder, configured).unwrap();
        let to = |url: &str| Links::To(url.to_owned());
        assert_eq!(links(None), Links::Default);
        assert_eq!(links(Some("https://c.example")), to("https://c.example"));
        folder.remember_url("https://b.example").unwrap();
        assert_eq!(links(Some("https://c.example")), to("https://b.example"));
        fs::write(place.path().join("public-url"), "https://a.example\n").unwrap();
        assert_eq!(links(None), Links::Altered);
        assert_eq!(links(Some("https://c.example")), to("https://c.example"));
        assert_eq!(Links::Altered.url(), None);
    }
}
