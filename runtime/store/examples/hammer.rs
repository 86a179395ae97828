//! Writes records without end and prints the number of each once it is acknowledged: to be killed.

use std::io::Write as _;

use lockgate_ports::records::{Change, Records as _, Table};
use lockgate_store::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("give a folder")?;
    let first: u64 = arguments.next().ok_or("give a first number")?.parse()?;
    let store = Store::open(folder.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "open")?;
    out.flush()?;
    for number in first.. {
        let value = number.to_string().repeat(20);
        let mut changes = vec![Change::Put {
            table: Table::Sessions,
            key: format!("{number:020}"),
            value: value.into_bytes(),
        }];
        if number % 3 == 0 {
            changes.push(Change::Put {
                table: Table::Broadcasts,
                key: "last".to_owned(),
                value: number.to_string().into_bytes(),
            });
        }
        runtime.block_on(store.write(changes))?;
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(())
}
