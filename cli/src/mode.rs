//! Modes as `chmod` takes them.

use std::str::FromStr;

use dfs_types::Mode;

/// A change of permission bits: `644`, `u+x`, `go-w,a=rX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// These bits.
    Absolute(Mode),
    /// These steps, one after the other.
    Symbolic(Vec<Clause>),
}

/// One `WHO OPERATOR PERMISSIONS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clause {
    who: u32,
    operator: Operator,
    bits: u32,
    /// `X`: execute only for directories and for what is executable for someone already.
    conditional_execute: bool,
    sticky: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

const STICKY: u32 = 0o1000;

impl FromStr for ModeChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(|character: char| character.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8)
                .map_err(|_| format!("mode '{text}' is not octal: use digits 0 to 7, such as 644"))?;
            return Mode::new(bits).map(Self::Absolute).map_err(|error| error.message);
        }
        text.split(',').map(clause).collect::<Option<Vec<_>>>().map(Self::Symbolic).ok_or_else(|| {
            format!("mode '{text}' is not understood: use octal digits or changes such as u+x,go-w,a=rX")
        })
    }
}

fn clause(text: &str) -> Option<Clause> {
    let at = text.find(['+', '-', '='])?;
    let (who, rest) = text.split_at(at);
    let mut operators = rest.chars();
    let operator = match operators.next()? {
        '+' => Operator::Add,
        '-' => Operator::Remove,
        _ => Operator::Set,
    };
    let mut mask = 0;
    for character in who.chars() {
        mask |= match character {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    let mut clause = Clause {
        who: if who.is_empty() { 0o777 } else { mask },
        operator,
        bits: 0,
        conditional_execute: false,
        sticky: false,
    };
    for character in operators {
        match character {
            'r' => clause.bits |= 0o444,
            'w' => clause.bits |= 0o222,
            'x' => clause.bits |= 0o111,
            'X' => clause.conditional_execute = true,
            't' => clause.sticky = true,
            _ => return None,
        }
    }
    Some(clause)
}

impl ModeChange {
    /// What `mode` becomes.
    pub(crate) fn apply(&self, mode: Mode, is_directory: bool) -> Mode {
        match self {
            Self::Absolute(mode) => *mode,
            Self::Symbolic(clauses) => Mode::truncate(
                clauses.iter().fold(mode.bits(), |bits, clause| clause.apply(bits, is_directory)),
            ),
        }
    }
}

impl Clause {
    fn apply(self, mode: u32, is_directory: bool) -> u32 {
        let execute = self.conditional_execute && (is_directory || mode & 0o111 != 0);
        let mut bits = (self.bits | if execute { 0o111 } else { 0 }) & self.who;
        if self.sticky {
            bits |= STICKY;
        }
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            // `=` leaves what is not named alone; for everyone it includes the sticky bit.
            Operator::Set => {
                let replaced = if self.who == 0o777 { self.who | STICKY } else { self.who };
                mode & !replaced | bits
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: &str, mode: u32, is_directory: bool) -> u32 {
        change.parse::<ModeChange>().unwrap().apply(Mode::new(mode).unwrap(), is_directory).bits()
    }

    #[test]
    fn changes_do_what_chmod_does() {
        for (change, before, after) in [
            ("600", 0o777, 0o600),
            ("1777", 0, 0o1777),
            ("u+x", 0o644, 0o744),
            ("+x", 0o644, 0o755),
            ("go-rwx", 0o755, 0o700),
            ("a=r", 0o1755, 0o444),
            ("g=w", 0o755, 0o725),
            ("u=rw,go=r", 0o777, 0o644),
            ("+t", 0o777, 0o1777),
            ("a+X", 0o644, 0o644),
            ("a+X", 0o744, 0o755),
        ] {
            assert_eq!(changed(change, before, false), after, "{change} of {before:o}");
        }
        assert_eq!(changed("a+X", 0o644, true), 0o755);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "9", "8888", "4755", "u", "u+z", "q+x", "u+x,", "77777"] {
            assert!(text.parse::<ModeChange>().is_err(), "{text}");
        }
    }
}
