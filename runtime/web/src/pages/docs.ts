// The API for people, made of the OpenAPI document that the server gives machines.

import { Problem, request } from "@lockgate/client";
import { byId, setText } from "../ui/dom";

interface Reference {
  $ref?: string;
}

interface Schema extends Reference {
  type?: string | string[];
  description?: string;
  properties?: Record<string, Schema>;
  items?: Schema;
  enum?: unknown[];
  oneOf?: Schema[];
  allOf?: Schema[];
}

type Content = Record<string, { schema?: Schema }>;

interface Answer extends Reference {
  description?: string;
  content?: Content;
}

interface Operation {
  tags?: string[];
  summary?: string;
  description?: string;
  security?: Record<string, string[]>[];
  parameters?: { name: string; in: string; required?: boolean; description?: string }[];
  requestBody?: { description?: string; content: Content };
  responses: Record<string, Answer>;
}

interface Document {
  info: { description?: string };
  tags: { name: string; description?: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema>; responses: Record<string, Answer> };
}

const METHODS = ["get", "post", "put", "patch", "delete"];

function element(name: string, text = "", className = ""): HTMLElement {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function table(rows: readonly (readonly [string, string])[]): HTMLElement {
  const made = element("table");
  for (const [term, words] of rows) {
    const row = element("tr");
    const head = element("td");
    head.append(element("code", term));
    row.append(head, element("td", words));
    made.append(row);
  }
  return made;
}

/** A schema in a few words: the name of a reference, or its type. */
function words(schema: Schema | undefined): string {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop() ?? "";
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  const several = schema.oneOf ?? schema.allOf;
  if (several) return several.map(words).join(" | ");
  if (schema.items) return `${words(schema.items)}[]`;
  return [schema.type ?? "any"].flat().join(" | ");
}

/** The fields of a body, as far down as it names them itself. */
function fields(api: Document, content: Content | undefined): HTMLElement[] {
  return Object.entries(content ?? {}).flatMap(([type, { schema }]) => {
    const name = words(schema);
    const found = schema?.$ref ? api.components.schemas[name] : schema;
    const parts = found?.allOf?.map((part) => (part.$ref ? api.components.schemas[words(part)] : part)) ?? [found];
    const rows = parts.flatMap((part) =>
      Object.entries(part?.properties ?? {}).map(
        ([field, inner]) => [field, [words(inner), inner.description].filter(Boolean).join(": ")] as const,
      ),
    );
    return [element("p", `${type}${name ? `: ${name}` : ""}`, "note"), ...(rows.length > 0 ? [table(rows)] : [])];
  });
}

function access(security: Record<string, string[]>[] | undefined): string {
  const scopes = (security ?? []).flatMap((one) => one["token"] ?? []);
  return scopes.length > 0 ? `Needs the scope ${scopes.join(", ")}.` : "Open to everybody.";
}

function show(api: Document, path: string, method: string, operation: Operation): HTMLElement {
  const made = element("details", "", "operation");
  const summary = element("summary");
  summary.append(
    element("span", method.toUpperCase(), "method"),
    element("code", path),
    element("span", operation.summary ?? "", "words"),
  );
  const inside = element("div", "", "inside");
  if (operation.description) inside.append(element("p", operation.description));
  inside.append(element("p", access(operation.security)));
  if (operation.parameters?.length) {
    const rows = operation.parameters.map(
      (one) => [one.name, [one.in, one.required ? "needed" : "", one.description].filter(Boolean).join(" · ")] as const,
    );
    inside.append(element("h3", "Parameters"), table(rows));
  }
  if (operation.requestBody) {
    inside.append(element("h3", "Body"), element("p", operation.requestBody.description ?? ""));
    inside.append(...fields(api, operation.requestBody.content));
  }
  inside.append(element("h3", "Answers"));
  for (const [status, answer] of Object.entries(operation.responses)) {
    const name = answer.$ref?.split("/").pop();
    const found = name ? api.components.responses[name] : answer;
    inside.append(table([[status, found?.description ?? ""]]));
    if (!name) inside.append(...fields(api, found?.content));
  }
  made.append(summary, inside);
  return made;
}

async function main(): Promise<void> {
  const status = byId("status", HTMLElement);
  try {
    const api = (await (await request("/api/openapi.json")).json()) as Document;
    setText(byId("about", HTMLElement), api.info.description ?? "");
    const place = byId("operations", HTMLElement);
    for (const tag of api.tags) {
      place.append(element("h2", tag.name), element("p", tag.description ?? ""));
      for (const [path, item] of Object.entries(api.paths)) {
        for (const method of METHODS) {
          const operation = item[method];
          if (operation?.tags?.[0] === tag.name) place.append(show(api, path, method, operation));
        }
      }
    }
    setText(status, "");
  } catch (error) {
    setText(status, error instanceof Problem ? `${error.title}: ${error.detail}` : "The server cannot be reached.");
  }
}

void main();
