//! `HOST:PORT`, where something listens.

use std::net::Ipv6Addr;
use std::str::FromStr;

/// Longest address, in bytes: a DNS name and a port.
pub const MAX_ADDRESS_BYTES: usize = 255 + 6;

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is nothing.
    #[error("it is empty: write HOST:PORT, for example namenode:9000")]
    Empty,
    /// It begins as a URL does.
    #[error("it is a URL: write only HOST:PORT, for example namenode:9000")]
    Url,
    /// Nothing follows the host.
    #[error("it has no port: write HOST:PORT, for example namenode:9000")]
    NoPort,
    /// What follows the last colon is none.
    #[error("its port is no number from 1 to 65535: write HOST:PORT, for example namenode:9000")]
    Port,
    /// It begins with the colon.
    #[error("it has no host: write HOST:PORT, for example namenode:9000")]
    NoHost,
    /// The host has colons itself.
    #[error("an IPv6 address is written in brackets, for example [::1]:9000")]
    Brackets,
    /// The host can be neither a name nor a number.
    #[error("its host is neither a name nor an IP address: write HOST:PORT, for example namenode:9000")]
    Host,
}

/// Checks that `text` is `HOST:PORT`: a DNS name, an IPv4 address or an IPv6 address in brackets, and a port that is not 0.
pub fn check(text: &str) -> Result<(), AddressError> {
    if port(text)? > 0 { Ok(()) } else { Err(AddressError::Port) }
}

/// The same of where something is to listen: port 0 stands for a free one.
pub fn check_listening(text: &str) -> Result<(), AddressError> {
    port(text).map(|_| ())
}

/// The port of an address whose host is one.
fn port(text: &str) -> Result<u16, AddressError> {
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if text.contains("//") {
        return Err(AddressError::Url);
    }
    let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
    match host {
        "" => return Err(AddressError::NoHost),
        _ if host.starts_with('[') => {
            let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            // A colon inside of the brackets is not the one before a port.
            let inside =
                inside.ok_or(if text.ends_with(']') { AddressError::NoPort } else { AddressError::Host })?;
            Ipv6Addr::from_str(inside).map_err(|_| AddressError::Host)?;
        }
        _ if host.contains(':') => return Err(AddressError::Brackets),
        _ if !is_name(host) || text.len() > MAX_ADDRESS_BYTES => return Err(AddressError::Host),
        _ => {}
    }
    if port.is_empty() {
        return Err(AddressError::NoPort);
    }
    let digits = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(AddressError::Port)
}

/// Underscores are in no DNS name of the rules, but in those of container networks.
fn is_name(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Addresses with commas between them, as options and variables give them. Nothing between two commas is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(pub Vec<String>);

impl FromStr for Addresses {
    type Err = AddressError;

    /// Errors: the first wrong address, or that there is none.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Err(AddressError::Empty);
        }
        parts.iter().try_for_each(|part| check(part))?;
        Ok(Self(parts.into_iter().map(str::to_owned).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_is_none() {
        let long = format!("{}:1", "n".repeat(300));
        for (text, expected) in [
            ("namenode:9000", Ok(())),
            ("nn-1.nn_x.svc:1", Ok(())),
            ("10.0.0.1:65535", Ok(())),
            ("[::1]:9000", Ok(())),
            ("", Err(AddressError::Empty)),
            ("host", Err(AddressError::NoPort)),
            ("host:", Err(AddressError::NoPort)),
            ("[::1]", Err(AddressError::NoPort)),
            ("host:99999", Err(AddressError::Port)),
            ("host:0", Err(AddressError::Port)),
            ("host:+80", Err(AddressError::Port)),
            ("host:http", Err(AddressError::Port)),
            (":9000", Err(AddressError::NoHost)),
            ("http://host:9000", Err(AddressError::Url)),
            ("host:9000/", Err(AddressError::Port)),
            ("::1:9000", Err(AddressError::Brackets)),
            ("[::1:9000", Err(AddressError::Host)),
            ("[host]:9000", Err(AddressError::Host)),
            ("a b:1", Err(AddressError::Host)),
            ("a@b:1", Err(AddressError::Host)),
            ("line\nbreak:1", Err(AddressError::Host)),
            (&long, Err(AddressError::Host)),
        ] {
            assert_eq!(check(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lists_may_have_gaps() {
        let list = |text: &str| text.parse::<Addresses>().map(|list| list.0.join(" "));
        assert_eq!(list("a:1").as_deref(), Ok("a:1"));
        assert_eq!(list(" a:1, ,b:2,").as_deref(), Ok("a:1 b:2"));
        assert_eq!(list(","), Err(AddressError::Empty));
        assert_eq!(list("a:1,b"), Err(AddressError::NoPort));
    }
}
