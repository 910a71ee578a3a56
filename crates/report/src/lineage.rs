//! Steps of lineage as a graph: what a version was made of, and what became of it.

use crate::canvas::Svg;
use crate::graph::{self, Node};
use crate::{Result, format};
use std::collections::BTreeMap;

/// Nodes of a graph; of more, those that are furthest away are left out.
const NODES: usize = 40;

/// A step, as `damson.upstream` and `damson.downstream` give it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// `table`, `view`, ... or `model`.
    pub kind: String,
    /// The relation, or the model.
    pub name: String,
    /// The model's version.
    pub version: Option<i64>,
    /// The relation's column.
    pub column: Option<String>,
    /// The part that it has.
    pub usage: String,
    /// Of what: a node, maybe with a column or more behind it.
    pub of: String,
}

/// Where a version comes from and where it goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lineage {
    /// The version: `name@7`.
    pub own: String,
    /// What it was made of, the nearest first.
    pub upstream: Vec<Step>,
    /// Tables that it filled, with their columns that it did.
    pub filled: Vec<(String, Vec<String>)>,
    /// What became of these tables, the nearest first.
    pub downstream: Vec<Step>,
}

impl Lineage {
    /// Whether there is something to draw.
    pub fn is_empty(&self) -> bool {
        self.upstream.is_empty() && self.filled.is_empty()
    }

    /// The graph, and how many nodes were left out.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn draw(&self) -> Result<(Svg, usize)> {
        let mut found = Found::default();
        let own = found.node(&self.own, true);
        found.nodes[own].own = true;
        found.note(own, "this version");
        let steps: Vec<&Step> = self.upstream.iter().chain(&self.downstream).collect();
        // Every node first: what a step is of can stand behind it.
        for step in &steps {
            let node = found.node(&step.label(), step.kind == "model");
            if step.kind != "model" {
                found.column(node, step);
            }
        }
        for (relation, columns) in &self.filled {
            let node = found.node(relation, false);
            columns.iter().for_each(|c| found.own_column(node, c));
            found.edge(own, node);
        }
        for step in &self.upstream {
            if let (Some(from), Some(to)) = (found.find(&step.label()), found.within(&step.of)) {
                found.edge(from, to);
            }
        }
        for step in &self.downstream {
            if let (Some(to), Some(from)) = (found.find(&step.label()), found.within(&step.of)) {
                found.edge(from, to);
            }
        }
        found.write_notes();
        let left_out = found.nodes.len().saturating_sub(NODES);
        found.nodes.truncate(NODES);
        let kept: Vec<(usize, usize)> =
            found.edges.into_iter().filter(|e| e.0 < NODES && e.1 < NODES).collect();
        Ok((graph::graph("Where the model comes from and where it goes", &found.nodes, &kept)?, left_out))
    }
}

impl Step {
    fn label(&self) -> String {
        match self.version {
            Some(version) => format!("{}@{version}", self.name),
            None => self.name.clone(),
        }
    }
}

#[derive(Default)]
struct Found {
    nodes: Vec<Node>,
    places: BTreeMap<String, usize>,
    edges: Vec<(usize, usize)>,
    /// Kind and columns of relations.
    relations: BTreeMap<usize, (String, Vec<String>)>,
}

impl Found {
    fn node(&mut self, label: &str, model: bool) -> usize {
        let next = self.nodes.len();
        let place = *self.places.entry(label.to_string()).or_insert(next);
        if place == next {
            let note = if model { "model".into() } else { String::new() };
            self.nodes.push(Node { name: label.into(), note, own: false, model });
        }
        place
    }

    fn find(&self, label: &str) -> Option<usize> {
        self.places.get(label).copied()
    }

    /// The node whose label a text begins with: the longest.
    fn within(&self, of: &str) -> Option<usize> {
        let ends = |label: &str| {
            of.strip_prefix(label).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ' ']))
        };
        self.places.iter().filter(|p| ends(p.0)).max_by_key(|p| p.0.len()).map(|p| *p.1)
    }

    fn note(&mut self, node: usize, note: &str) {
        self.nodes[node].note = note.into();
    }

    fn column(&mut self, node: usize, step: &Step) {
        let known = self.relations.entry(node).or_default();
        known.0 = step.kind.clone();
        known.1.extend(step.column.clone());
    }

    fn own_column(&mut self, node: usize, column: &str) {
        let known = self.relations.entry(node).or_default();
        known.0 = "table".into();
        known.1.push(column.into());
    }

    fn edge(&mut self, from: usize, to: usize) {
        if from != to && !self.edges.contains(&(from, to)) {
            self.edges.push((from, to));
        }
    }

    fn write_notes(&mut self) {
        for (node, (kind, mut columns)) in std::mem::take(&mut self.relations) {
            columns.sort();
            columns.dedup();
            self.nodes[node].note = match columns.len() {
                0 => kind,
                1 => format!("{kind}, column {}", columns[0]),
                n => format!("{kind}, {} columns", format::whole(n as i64)),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(kind: &str, name: &str, version: Option<i64>, of: &str) -> Step {
        Step { kind: kind.into(), name: name.into(), version, of: of.into(), ..Step::default() }
    }

    #[test]
    fn steps_find_what_they_are_of() {
        let lineage = Lineage {
            own: "churn@3".into(),
            upstream: vec![
                step("table", "public.customers", None, "churn@3.age"),
                step("view", "public.scores", None, "churn@3.\"a.b\""),
                step("model", "score", Some(1), "public.scores"),
                step("table", "public.raw", None, "score@1.x"),
            ],
            filled: vec![("public.churn_scores".into(), vec!["p".into()])],
            downstream: vec![step("model", "next", Some(2), "public.churn_scores.p")],
        };
        let mut found = Found::default();
        for label in ["churn@3", "churn@33", "public.scores", "public.scores_2"] {
            found.node(label, false);
        }
        assert_eq!(found.within("churn@3.age"), Some(0));
        assert_eq!(found.within("churn@33"), Some(1));
        assert_eq!(found.within("public.scores.\"a.b\" by m@1"), Some(2));
        assert_eq!(found.within("nothing"), None);
        let (svg, left_out) = lineage.draw().unwrap();
        let file = svg.into_file();
        assert_eq!(left_out, 0);
        for name in ["public.customers", "score@1", "public.churn_scores", "next@2"] {
            assert!(file.contains(name), "{name}");
        }
        // An arrow's tip for each edge.
        assert_eq!(file.matches("<polygon").count(), 6);
    }
}
