//! Output that a closed pipe does not turn into a panic.

/// Prints a line to standard output; when nobody reads it any more, that is no error.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

/// As [`say`], without the end of the line.
macro_rules! show {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stdout(), $($text)*);
    }};
}
