//! Invitation links: `https://host/enrol#SECRET.SERVER`, read from a QR code or a message.
//!
//! What stands after `#` never leaves the device in an HTTP request. The server's key in the link
//! is what the device trusts: it checks the certificate against it.

use std::fmt;
use std::str::FromStr;

use bukti_core::id::ServerId;

use crate::limits;

/// Where, with what and to whom a device enrols.
#[derive(Clone, PartialEq, Eq)]
pub struct InvitationLink {
    /// The server's address, `https://host` or `http://host`, with a path if it has one and
    /// without a slash at the end.
    pub url: String,
    /// What the invited person was given.
    pub secret: [u8; 16],
    /// Whose certificate to expect.
    pub server: ServerId,
}

impl fmt::Debug for InvitationLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InvitationLink({}, {:?})", self.url, self.server)
    }
}

/// A link that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not of the form of an invitation link.
    #[error("not an invitation link: expected https://…/enrol#….…")]
    Form,
    /// The part before `#` is no address of a server.
    #[error("the link does not begin with an address such as https://bukti.example")]
    Address,
    /// The part after `#` was mistyped or cut.
    #[error("the part of the link after # was mistyped or cut")]
    Secret,
}

impl InvitationLink {
    /// Where the device opens its WebSocket.
    pub fn sync_url(&self) -> String {
        sync_url(&self.url).unwrap_or_else(|| self.url.clone())
    }
}

/// The WebSocket address for a server's address, or nothing if it is not `http` or `https`.
pub fn sync_url(url: &str) -> Option<String> {
    let (scheme, rest) = split(url)?;
    let scheme = if scheme == "https" { "wss" } else { "ws" };
    Some(format!("{scheme}://{}/v1/sync", rest.trim_end_matches('/')))
}

/// Splits `http(s)://host…` and refuses what could not be an address.
fn split(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let plain = rest
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"#?\"<>\\^`{|}@".contains(&byte));
    let host = rest.split('/').next().unwrap_or("");
    (matches!(scheme, "http" | "https") && plain && !host.is_empty()).then_some((scheme, rest))
}

impl fmt::Display for InvitationLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = bs58::encode(self.secret).with_check().into_string();
        write!(f, "{}/enrol#{secret}.{}", self.url, self.server)
    }
}

impl FromStr for InvitationLink {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        if text.len() > limits::LINK_BYTES_MAX {
            return Err(LinkError::Form);
        }
        let (before, after) = text.split_once('#').ok_or(LinkError::Form)?;
        let url = before.strip_suffix("/enrol").ok_or(LinkError::Form)?;
        if split(url).is_none() || url.ends_with('/') {
            return Err(LinkError::Address);
        }
        let (secret, server) = after.split_once('.').ok_or(LinkError::Secret)?;
        let secret = bs58::decode(secret).with_check(None).into_vec();
        Ok(Self {
            url: url.to_owned(),
            secret: secret
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(LinkError::Secret)?,
            server: server.parse().map_err(|_| LinkError::Secret)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(url: &str) -> InvitationLink {
        InvitationLink {
            url: url.into(),
            secret: [7; 16],
            server: ServerId([9; 32]),
        }
    }

    #[test]
    fn a_link_reads_back_from_what_it_prints() {
        for url in [
            "https://bukti.example",
            "http://127.0.0.1:8080",
            "https://example.org/bukti",
        ] {
            let text = link(url).to_string();
            assert_eq!(text.parse(), Ok(link(url)));
            assert_eq!(format!(" {text}\n").parse(), Ok(link(url)));
        }
    }

    #[test]
    fn the_socket_is_as_safe_as_the_link() {
        assert_eq!(
            link("https://a.example").sync_url(),
            "wss://a.example/v1/sync"
        );
        assert_eq!(
            link("http://127.0.0.1:80/x").sync_url(),
            "ws://127.0.0.1:80/x/v1/sync"
        );
        assert_eq!(sync_url("ftp://a.example"), None);
    }

    #[test]
    fn a_cut_or_mistyped_link_is_refused() {
        let text = link("https://bukti.example").to_string();
        for length in 0..text.len() {
            assert!(
                text[..length].parse::<InvitationLink>().is_err(),
                "{length}"
            );
        }
        for bad in [
            "ftp://a",
            "https://",
            "https://a b",
            "https://a@b",
            "https://a?x",
            "https:///path",
            "a",
        ] {
            let mistyped = link(bad).to_string();
            assert_eq!(
                mistyped.parse::<InvitationLink>(),
                Err(LinkError::Address),
                "{bad}"
            );
        }
        let long = link(&format!("https://{}", "a".repeat(limits::LINK_BYTES_MAX)));
        assert_eq!(
            long.to_string().parse::<InvitationLink>(),
            Err(LinkError::Form)
        );
        let secret_at = text.find('#').unwrap() + 1;
        for at in secret_at..text.len() {
            let other = if &text[at..=at] == "3" { "4" } else { "3" };
            let mut mistyped = text.clone();
            mistyped.replace_range(at..=at, other);
            assert_eq!(
                mistyped.parse::<InvitationLink>(),
                Err(LinkError::Secret),
                "{at}"
            );
        }
    }
}
