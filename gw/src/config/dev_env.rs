//! `dev.env`: what `gw serve --dev` chose, so that other commands find it by themselves.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use schemas::secret::Secret;

/// The settings of a development gateway. Real settings win over them.
#[derive(Clone, Debug, Default)]
pub(crate) struct DevEnv(BTreeMap<String, String>);

impl DevEnv {
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("dev.env")
    }

    /// Reads the file; none is the same as an empty one.
    pub(crate) fn load(data_dir: &Path) -> Self {
        let text = fs::read_to_string(Self::path(data_dir)).unwrap_or_default();
        let pairs = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn secret(&self, name: &str) -> Option<Secret> {
        self.get(name).map(Secret::new)
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Writes the file, readable by its owner only.
    pub(crate) fn save(&self, data_dir: &Path) -> io::Result<()> {
        use std::io::Write;
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(Self::path(data_dir))?;
        // The mode above is for a new file only.
        #[cfg(unix)]
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        writeln!(file, "# Written by `gw serve --dev`. Other gw commands read it when a setting is not given.")?;
        self.0.iter().try_for_each(|(name, value)| writeln!(file, "{name}={value}"))
    }
}
