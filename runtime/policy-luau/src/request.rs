//! The words of `auth`, and JSON, to and from Luau.

use lockgate_policy::auth::{Action, Request, Verdict};
use mlua::{Lua, Table, Value};

/// A JSON value as Luau has it. JSON's null is `null`, so that a key with it is still there.
pub(crate) fn json(lua: &Lua, value: &serde_json::Value) -> mlua::Result<Value> {
    Ok(match value {
        serde_json::Value::Null => Value::NULL,
        serde_json::Value::Bool(value) => Value::Boolean(*value),
        serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::String(lua.create_string(text)?),
        serde_json::Value::Array(values) => {
            let list = lua.create_table()?;
            for value in values {
                list.raw_push(json(lua, value)?)?;
            }
            Value::Table(list)
        }
        serde_json::Value::Object(fields) => {
            let table = lua.create_table()?;
            for (key, value) in fields {
                table.raw_set(key.as_str(), json(lua, value)?)?;
            }
            Value::Table(table)
        }
    })
}

/// A request as `authorize` gets it.
pub(crate) fn to_luau(lua: &Lua, request: &Request) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let action = match request.action {
        Action::Publish => "publish",
        Action::Play => "play",
        Action::Join => "join",
        Action::Admin => "admin",
    };
    table.raw_set("action", action)?;
    table.raw_set("stream", request.stream.as_str())?;
    table.raw_set("peer", request.peer.as_str())?;
    let claims = lua.create_table()?;
    for (name, value) in &request.claims {
        claims.raw_set(name.as_str(), json(lua, value)?)?;
    }
    table.raw_set("claims", claims)?;
    table.raw_set("now_s", request.now_s)?;
    if let Some(answered) = &request.answered {
        let answer = lua.create_table()?;
        answer.raw_set("status", answered.status)?;
        answer.raw_set("body", answered.body.as_str())?;
        table.raw_set("answered", answer)?;
    }
    Ok(table)
}

/// What `authorize` has said. Anything but one clear verdict is refused.
pub(crate) fn verdict(said: &Value) -> Result<Verdict, String> {
    let Value::Table(said) = said else {
        return Err(format!(
            "authorize returned a {}; {SHAPES}",
            said.type_name()
        ));
    };
    let field = |name: &str| said.raw_get::<Value>(name).unwrap_or(Value::Nil);
    let verdicts = [field("allow"), field("deny"), field("ask")];
    match verdicts {
        [Value::Boolean(true), Value::Nil, Value::Nil] => Ok(Verdict::Allow {
            ttl_s: number("ttl_s", &field("ttl_s"))?.unwrap_or(0),
            role: text("role", &field("role"), ROLE_MAX)?.unwrap_or_default(),
            cap_kbps: number("cap_kbps", &field("cap_kbps"))?,
        }),
        [Value::Nil, Value::Boolean(true), Value::Nil] => {
            let status = match number("status", &field("status"))? {
                None | Some(403) => 403,
                Some(401) => 401,
                Some(other) => return Err(format!("status is {other}; it must be 401 or 403")),
            };
            let reason = text("reason", &field("reason"), REASON_MAX)?.unwrap_or_default();
            Ok(Verdict::Deny { status, reason })
        }
        [Value::Nil, Value::Nil, Value::String(_)] => {
            let url = text("ask", &field("ask"), URL_MAX)?.unwrap_or_default();
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err("ask must be a URL that begins with http:// or https://".to_owned());
            }
            Ok(Verdict::Ask { url })
        }
        _ => Err(format!(
            "authorize returned none or several verdicts; {SHAPES}"
        )),
    }
}

fn number(name: &str, value: &Value) -> Result<Option<u32>, String> {
    let number = match value {
        Value::Nil => return Ok(None),
        Value::Integer(number) => u32::try_from(*number).ok(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and in range"
        )]
        Value::Number(number)
            if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number) =>
        {
            Some(*number as u32)
        }
        _ => None,
    };
    number
        .map(Some)
        .ok_or_else(|| format!("{name} must be a whole number from 0 on, or nil"))
}

fn text(name: &str, value: &Value, most: usize) -> Result<Option<String>, String> {
    let text = match value {
        Value::Nil => return Ok(None),
        Value::String(text) => text.to_str().ok().map(|text| text.to_owned()),
        _ => None,
    };
    text.filter(|text| text.len() <= most)
        .map(Some)
        .ok_or_else(|| format!("{name} must be a text of at most {most} bytes, or nil"))
}

const SHAPES: &str = "it must return {allow = true, …}, {deny = true, …} or {ask = url}";
const ROLE_MAX: usize = 64;
const REASON_MAX: usize = 200;
const URL_MAX: usize = 2048;
