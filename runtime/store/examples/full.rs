//! Fills the small disk it is given and says what became of the records: run by the test `full`.

use std::{fs, io::Write as _, path::PathBuf, time::Duration};

use lockgate_ports::records::{Change, RecordError, Records as _, Table};
use lockgate_store::Store;

fn put(key: String) -> Vec<Change> {
    vec![Change::Put {
        table: Table::Sessions,
        key,
        value: vec![7; 400],
    }]
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("give a folder")?);
    let store = Store::open(&folder.join("store"))?;
    store.write(put("before".to_owned())).await?;

    // Somebody else's file takes all the room there is.
    let filler = folder.join("filler");
    let mut size = 64 << 20;
    let mut filled = Vec::new();
    while size > 0 {
        let mut more = filled.clone();
        more.resize(more.len() + size, 1);
        if fs::write(&filler, &more).is_ok() {
            filled = more;
        }
        size /= 2;
    }
    let mut acknowledged = Vec::new();
    let mut refused = None;
    for number in 0..100_000 {
        let key = format!("full-{number}");
        match store.write(put(key.clone())).await {
            Ok(()) => acknowledged.push(key),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    if refused != Some(RecordError::Full) {
        return Err(format!("a full disk ends in {refused:?}").into());
    }
    // A start on a full disk is a start without records, not a failure.
    drop(store);
    let store = Store::open(&folder.join("store"))?;
    let opened = store.get(Table::Sessions, "before");

    fs::remove_file(&filler)?;
    let again = async {
        loop {
            match store.write(put("after".to_owned())).await {
                Ok(()) => break,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again)
        .await
        .map_err(|_| "there is room again, but nothing is recorded")?;
    for key in ["before", "after"]
        .into_iter()
        .map(str::to_owned)
        .chain(acknowledged.clone())
    {
        if store.get(Table::Sessions, &key)? != Some(vec![7; 400]) {
            return Err(format!("{key} was acknowledged and is lost").into());
        }
    }
    let aside = fs::read_dir(folder.join("store"))?
        .filter_map(Result::ok)
        .any(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("quarantine")
        });
    if aside {
        return Err("a database was put aside that was only short of room".into());
    }
    let told = format!(
        "{} acknowledged while the disk filled; opened full: {opened:?}",
        acknowledged.len()
    );
    writeln!(std::io::stdout(), "{told}")?;
    Ok(())
}
