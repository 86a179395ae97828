use std::collections::BTreeMap;

use utoipa::openapi::HttpMethod;

use super::*;

#[test]
fn the_document_is_the_reviewed_one() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/openapi.json"
    );
    let now = document().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("LOCKGATE_RENEW").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let reviewed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        reviewed == now,
        "tests/vectors/openapi.json is not what the code says; after a wanted change run this test with LOCKGATE_RENEW=1 \
         and review the difference"
    );
}

/// The router's own list, as it shows itself: axum has no other way to ask for it.
fn of_router() -> BTreeMap<String, String> {
    let shown = format!("{:?}", crate::router::routes());
    let quoted = |text: &str| text.split('"').nth(1).unwrap_or_default().to_owned();
    let mut allowed = BTreeMap::new();
    let (routes, paths) = shown.split_once("node: Node").unwrap();
    for (at, part) in routes.split("RouteId(").skip(1).map(numbered) {
        if let Some(allow) = part.split("allow_header: ").nth(1) {
            allowed.insert(at, quoted(allow));
        }
    }
    let mut all = BTreeMap::new();
    // Of the fallback nothing is to be listed.
    let paths = paths
        .split('}')
        .next()
        .map(|_| paths.split("}, ").next())
        .unwrap();
    for (at, part) in paths.unwrap().split("RouteId(").skip(1).map(numbered) {
        all.insert(quoted(part), allowed[&at].clone());
    }
    all
}

fn numbered(part: &str) -> (u32, &str) {
    let (number, rest) = part.split_once(')').unwrap();
    (number.parse().unwrap(), rest)
}

/// The routes of the document: each path with its methods.
fn routes(document: &utoipa::openapi::OpenApi) -> BTreeMap<String, Vec<HttpMethod>> {
    let methods = |item: &utoipa::openapi::PathItem| {
        let all = [
            (HttpMethod::Get, &item.get),
            (HttpMethod::Post, &item.post),
            (HttpMethod::Put, &item.put),
            (HttpMethod::Patch, &item.patch),
            (HttpMethod::Delete, &item.delete),
        ];
        let there = all.into_iter().filter(|(_, operation)| operation.is_some());
        there.map(|(method, _)| method).collect()
    };
    let paths = document.paths.paths.iter();
    paths
        .map(|(path, item)| (path.clone(), methods(item)))
        .collect()
}

#[test]
fn every_route_of_the_router_is_in_the_document_and_none_else() {
    let of_router = of_router();
    assert!(of_router.len() > 30, "{of_router:?}");
    let mut of_document = BTreeMap::new();
    for (path, methods) in routes(&document()) {
        let name = |method: &HttpMethod| match method {
            HttpMethod::Get => "GET,HEAD",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Patch => "PATCH",
            HttpMethod::Delete => "DELETE",
            _ => "other",
        };
        let mut names: Vec<&str> = methods.iter().map(name).collect();
        names.sort_unstable();
        of_document.insert(path, names.join(","));
    }
    let sorted = |allow: &str| {
        let mut names: Vec<&str> = allow.split(',').collect();
        names.sort_unstable();
        names.join(",")
    };
    let of_router: BTreeMap<String, String> = of_router
        .into_iter()
        // A protocol of its own, which OpenAPI has no words for.
        .filter(|(path, _)| path != "/socket.io/")
        .map(|(path, allow)| (path.replace("{*path}", "{path}"), sorted(&allow)))
        .collect();
    assert_eq!(of_document, of_router);
}

#[test]
fn every_route_says_who_may_use_it_and_what_it_is() {
    let document = serde_json::to_value(document()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{what} has no summary");
            assert!(operation["security"].is_array(), "{what} has no security");
            assert!(operation["tags"][0].is_string(), "{what} has no tag");
            let success = operation["responses"].as_object().unwrap().keys();
            assert!(
                success.clone().any(|status| status.starts_with('2')),
                "{what}"
            );
        }
    }
}
