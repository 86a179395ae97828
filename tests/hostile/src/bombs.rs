//! Scripts made for the compiler rather than for the judge.

/// A script written by a program.
#[derive(Debug, Clone)]
pub struct Bomb {
    /// What it is made of.
    pub of: &'static str,
    /// What the refusal must hold; `None` where it may be loaded as well, within its limits.
    pub says: Option<&'static str>,
    /// The script.
    pub source: String,
}

/// All of them.
pub fn bombs() -> Vec<Bomb> {
    let policy = "return {recommend = function() return 1 end}";
    let fill = |part: &str| part.repeat(60_000 / part.len());
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        format!(
            "local x = {}{inner}{}\n{policy}",
            open.repeat(times),
            close.repeat(times)
        )
    };
    let refused = [
        ("brackets", nested("(", "1", ")", 5000), "brackets"),
        ("tables", nested("{", "", "}", 5000), "brackets"),
        (
            "functions",
            nested("function() return ", "1", " end", 2000),
            "script.luau",
        ),
        (
            "blocks",
            format!("{}{}\n{policy}", "do ".repeat(9000), "end ".repeat(9000)),
            "script.luau",
        ),
        ("repeats", "repeat ".repeat(9000), "script.luau"),
        (
            "ifs",
            nested("if x then 1 else ", "1", "", 3000),
            "script.luau",
        ),
        ("minus", nested("- ", "1", "", 25_000), "script.luau"),
        ("not", nested("not ", "1", "", 12_000), "script.luau"),
        ("powers", nested("1^", "1", "", 25_000), "script.luau"),
        (
            "locals",
            format!("{}{policy}", "local a = {} ".repeat(400)),
            "local",
        ),
        (
            "too large",
            format!("{}{policy}", " ".repeat(70_000)),
            "65536",
        ),
        (
            "types",
            format!(
                "type A = {}number{}\n{policy}",
                "A<".repeat(5000),
                ">".repeat(5000)
            ),
            "script.luau",
        ),
        (
            "interpolation",
            format!(
                "local x = {}1{}\n{policy}",
                "`{".repeat(3000),
                "}`".repeat(3000)
            ),
            "script.luau",
        ),
    ];
    // What compiles is bounded: it loads, or an error says why not.
    let bounded = [
        format!("local x = {{{}}}\n{policy}", fill("1,")),
        format!("local x = {{{}}}\n{policy}", fill("{},")),
        format!("local x = 1{}\n{policy}", fill("+1")),
        format!("local x = ''{}\n{policy}", fill("..''")),
        format!("local x = math{}\n{policy}", fill(".a")),
        format!(
            "local x = function() return type{} end\n{policy}",
            fill("()")
        ),
        format!("if x then {} end\n{policy}", fill("elseif x then ")),
        format!(
            "local function f() for i = 1, 3 do {} end end\n{policy}",
            fill("f() ")
        ),
        format!(
            "{}\n{policy}",
            "for i = 1, 8 do ".repeat(60) + "local x = 1 " + &"end ".repeat(60)
        ),
        format!("local x = '{}'\n{policy}", fill("long")),
        format!("{}{policy}", fill("\n")),
        format!(
            "{}\n{policy}",
            "local function f(a) local function g() return a end ".repeat(90) + &"end ".repeat(90)
        ),
    ];
    let refused = refused.into_iter().map(|(of, source, says)| Bomb {
        of,
        says: Some(says),
        source,
    });
    let bounded = bounded.into_iter().map(|source| Bomb {
        of: "much of one thing",
        says: None,
        source,
    });
    refused.chain(bounded).collect()
}
