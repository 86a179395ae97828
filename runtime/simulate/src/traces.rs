//! A folder of traces: one folder a set, one CSV a trace.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Trace, TraceError, trace::HEADER};

/// Traces of one kind of network.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// The folder's name.
    pub name: String,
    /// Its traces, by file name.
    pub traces: Vec<Named>,
}

/// A trace and the file it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// The file's name without its ending.
    pub name: String,
    /// What it holds.
    pub trace: Trace,
}

/// Why a folder of traces could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is no trace.
    #[error("{}: {source}", path.display())]
    Parse {
        /// Which one.
        path: PathBuf,
        /// Where and why.
        source: TraceError,
    },
    /// There is nothing to play.
    #[error("{}: no traces here, nor in the folders below (files NAME.csv that begin with \"{HEADER}\")", dir.display())]
    Empty {
        /// Where they were looked for.
        dir: PathBuf,
    },
}

/// Loads the traces of each folder below `dir`, at most `max_per_set` of each, spread evenly over the files in order
/// of their names, first and last among them. CSVs directly in `dir` are a set named after it. CSVs with another
/// header are not traces and are passed over.
pub fn load(dir: &Path, max_per_set: usize) -> Result<Vec<Set>, Error> {
    let mut sets = Vec::new();
    let (folders, files) = list(dir)?;
    if let Some(set) = load_set(dir, files, max_per_set)? {
        sets.push(set);
    }
    for folder in folders {
        let (_, files) = list(&folder)?;
        if let Some(set) = load_set(&folder, files, max_per_set)? {
            sets.push(set);
        }
    }
    if sets.is_empty() {
        return Err(Error::Empty {
            dir: dir.to_owned(),
        });
    }
    Ok(sets)
}

fn load_set(folder: &Path, files: Vec<PathBuf>, max: usize) -> Result<Option<Set>, Error> {
    let mut texts = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).map_err(|source| read_error(&path, source))?;
        if text.starts_with(HEADER) {
            texts.push((path, text));
        }
    }
    let mut traces = Vec::new();
    for index in spread(texts.len(), max) {
        let (path, text) = &texts[index];
        let trace = Trace::parse(text).map_err(|source| Error::Parse {
            path: path.clone(),
            source,
        })?;
        let name = name_of(path.file_stem());
        traces.push(Named { name, trace });
    }
    Ok((!traces.is_empty()).then(|| Set {
        name: name_of(folder.file_name()),
        traces,
    }))
}

/// Which of `count` files are taken so that they are at most `max`, evenly spread.
fn spread(count: usize, max: usize) -> Vec<usize> {
    if count <= max {
        return (0..count).collect();
    }
    let gaps = max.saturating_sub(1).max(1) as f64;
    (0..max)
        .map(|i| (i as f64 * (count - 1) as f64 / gaps).round_ties_even() as usize)
        .collect()
}

/// The folders in a folder and its CSVs, hidden ones apart, each by name.
fn list(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(|source| read_error(dir, source))? {
        let path = entry.map_err(|source| read_error(dir, source))?.path();
        if name_of(path.file_name()).starts_with('.') {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if path.extension().is_some_and(|ending| ending == "csv") {
            files.push(path);
        }
    }
    folders.sort();
    files.sort();
    Ok((folders, files))
}

fn name_of(name: Option<&std::ffi::OsStr>) -> String {
    name.map_or_else(
        || "traces".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn read_error(path: &Path, source: std::io::Error) -> Error {
    Error::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_files_is_spread_evenly() {
        assert_eq!(spread(3, 16), [0, 1, 2]);
        assert_eq!(spread(0, 4), [0; 0]);
        assert_eq!(spread(5, 0), [0; 0]);
        assert_eq!(spread(5, 1), [0]);
        assert_eq!(spread(10, 4), [0, 3, 6, 9]);
        // 2.5 and 7.5 go to the even neighbour.
        assert_eq!(spread(11, 5), [0, 2, 5, 8, 10]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = load(Path::new("no/such/folder"), 4)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("no/such/folder: "), "{error}");
    }

    #[test]
    fn an_error_names_file_and_line() {
        let source = Trace::parse("t_s,kbps\n0,1\nx,2\n").unwrap_err();
        let path = PathBuf::from("fcc/fcc_000.csv");
        assert_eq!(
            Error::Parse { path, source }.to_string(),
            "fcc/fcc_000.csv: line 3: t_s is \"x\", not a number from 0 up"
        );
    }

    #[test]
    fn a_folder_of_folders_is_sets_by_name() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/traces");
        let sets = load(&shipped, 1).unwrap();
        let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
        let expected = "fcc fcc_step_hd fcc_step_sd ghent4g norway3g puffer_211017";
        assert_eq!(names.join(" "), expected);
        assert!(sets.iter().all(|set| set.traces.len() == 1));
        assert_eq!(load(&shipped.join("fcc"), 9).unwrap()[0].name, "fcc");
        let none = load(&shipped, 0).unwrap_err().to_string();
        assert!(none.contains("no traces here"), "{none}");
    }
}
