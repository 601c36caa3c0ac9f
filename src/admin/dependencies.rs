//! What depends on what, as a graph.

use super::{
    answer::{Answer, Told},
    service::Asked,
};
use crate::{Cache, PolicyKind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn told(asked: &Asked<'_>) -> Told {
    asked.concerns_all("the graph of dependencies")?;
    let (name, cache) = asked.cache()?;
    let graph = Graph::of(cache);
    Ok(Answer::json(&json!({ "cache": name, "nodes": graph.nodes(), "edges": graph.edges() })))
}

/// Nodes by kind and label, and what leads where.
#[derive(Debug, Default)]
struct Graph {
    nodes: BTreeSet<Node>,
    edges: BTreeMap<(Node, Node), &'static str>,
}

type Node = (&'static str, String);

impl Graph {
    fn of(cache: &Cache) -> Self {
        let mut graph = Self::default();
        for (name, dependents) in cache.dependencies().edges() {
            for dependent in dependents {
                let to = match dependent.strip_prefix("-> ") {
                    Some(name) => ("name", name.to_owned()),
                    None if dependent == "(closure)" => ("closure", format!("closure of {name}")),
                    None => ("tag", dependent),
                };
                graph.edge(("name", name.to_owned()), to, "");
            }
        }
        for page in cache.pages().iter().filter(|page| page.kind == PolicyKind::Response) {
            let Some(policy) = page.policy() else { continue };
            graph.thing((POLICY, page.name().to_owned()), &policy.depends_on, &policy.tags);
        }
        for value in cache.declared_values() {
            let [names, tags] =
                [value.depends_on, value.tags].map(|all| all.iter().map(|one| (*one).to_owned()).collect());
            graph.thing((PolicyKind::Value.as_str(), value.name.to_owned()), &names as &Vec<_>, &tags as &Vec<_>);
        }
        graph
    }

    /// A policy or a value.
    fn thing(&mut self, node: Node, names: &[String], tags: &[String]) {
        for name in names {
            self.edge(("name", name.clone()), node.clone(), "depends_on");
        }
        for tag in tags {
            self.edge(("tag", tag.clone()), node.clone(), "tags");
        }
        self.nodes.insert(node);
    }

    fn edge(&mut self, from: Node, to: Node, label: &'static str) {
        self.nodes.extend([from.clone(), to.clone()]);
        self.edges.entry((from, to)).or_insert(label);
    }

    fn nodes(&self) -> Vec<Value> {
        let node = |node: &Node| json!({ "id": id(node), "label": node.1, "kind": node.0 });
        self.nodes.iter().map(node).collect()
    }

    fn edges(&self) -> Vec<Value> {
        let edge =
            |((from, to), label): (&(Node, Node), &&str)| json!({ "from": id(from), "to": id(to), "label": label });
        self.edges.iter().map(edge).collect()
    }
}

fn id((kind, label): &Node) -> String {
    format!("{kind}:{label}")
}

/// A policy of responses; values are told apart from them.
const POLICY: &str = "policy";
