//! `gw doctor`: what is wrong, and how to mend it.
//!
//! `local` looks at settings, files and ports, `database` at the tables, `broker` at the server and its streams.

use std::fmt;

use crate::{
    config::{DevEnv, DoctorArgs},
    error::Error,
    output::{self, Style},
};

mod broker;
mod database;
mod local;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Ok,
    /// It works, but not for long or not for all.
    Warn,
    Fail,
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    level: Level,
    what: String,
    /// What to do about it.
    mend: Option<String>,
}

impl Check {
    fn ok(what: impl Into<String>) -> Self {
        Self { level: Level::Ok, what: what.into(), mend: None }
    }

    fn warn(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level: Level::Warn, what: what.into(), mend: Some(mend.into()) }
    }

    fn fail(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level: Level::Fail, what: what.into(), mend: Some(mend.into()) }
    }

    fn line(&self, style: Style) -> String {
        let level = match self.level {
            Level::Ok => style.green("ok  "),
            Level::Warn => style.yellow("warn"),
            Level::Fail => style.red("fail"),
        };
        format!("{level}  {}", output::plain(&self.to_string()))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.mend.as_ref().map_or(Ok(()), |mend| write!(f, " — {mend}"))
    }
}

pub(crate) async fn run(args: DoctorArgs) -> Result<(), Error> {
    let args = args.serve;
    let dev = DevEnv::load(&args.data.data_dir);
    let style = Style::of_stdout();
    let mut failed = false;
    let mut tell = |checks: Vec<Check>| {
        failed |= checks.iter().any(|check| check.level == Level::Fail);
        checks.iter().try_for_each(|check| output::line(check.line(style)))
    };
    tell(local::folder(&args))?;
    tell(local::settings(&args, &dev))?;
    tell(local::listeners(&args).await?)?;
    if args.needs_database() {
        tell(database::check(&args).await)?;
    }
    tell(broker::check(&args, &dev).await)?;
    if failed { Err(Error::Unwell) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_one_line_that_says_what_to_do() {
        let check = Check::fail("the port is\ntaken", "choose another");
        assert_eq!(check.line(Style::none()), "fail  the port is taken — choose another");
        assert_eq!(Check::ok("all is well").line(Style::none()), "ok    all is well");
    }
}
