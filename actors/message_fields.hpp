// The fields of every message body by name: what is measured, recorded, compared and shown of a
// message comes from this one list.
//
//   visit_body(body, visitor);   // Hidden: visitor("rows", tensor), visitor("first_position", i32)
//
// A visitor takes (const char* name, field) for numbers, enumerators, texts, tensors and vectors
// of them or of numbers. `column` instead of the call marks an index column that grows with the
// tokens, as a tensor does: std::vector<int32>. Structures inside a body are visited as fields of
// their own ("routing.scores"); a vector of structures is `list(name, vector, visit_one)`.
#pragma once

#include <concepts>
#include <type_traits>

#include "actors/message.hpp"

namespace sluice::actors {

/// B is T, const or not.
template <class B, class T>
concept FieldsOf = std::same_as<std::remove_const_t<B>, T>;

template <FieldsOf<std::monostate> B, class V>
void visit_body(B&, V&&) {}

// ---- From the host, channels

template <FieldsOf<TaskDone> B, class V>
void visit_body(B& body, V&& visit) {
  visit("task", body.task);
}
template <FieldsOf<TimerFired> B, class V>
void visit_body(B& body, V&& visit) {
  visit("timer", body.timer);
}
template <FieldsOf<Credit> B, class V>
void visit_body(B& body, V&& visit) {
  visit("count", body.count);
}

// ---- Micro-batches

template <FieldsOf<Tokens> B, class V>
void visit_body(B& body, V&& visit) {
  visit("tokens", body.tokens);
  visit("first_position", body.first_position);
}
template <FieldsOf<Hidden> B, class V>
void visit_body(B& body, V&& visit) {
  visit("rows", body.rows);
  visit("first_position", body.first_position);
}
template <FieldsOf<EmbeddingRows> B, class V>
void visit_body(B& body, V&& visit) {
  visit("depths", body.depths);
}
template <FieldsOf<Dispatch> B, class V>
void visit_body(B& body, V&& visit) {
  visit("normed", body.normed);
  visit("routing.scores", body.routing.scores);
  visit("routing.experts", body.routing.experts);
  visit("routing.weights", body.routing.weights);
  visit("keep", body.keep);
  visit("priority", body.priority);
}
template <FieldsOf<Combine> B, class V>
void visit_body(B& body, V&& visit) {
  visit.column("sums.token", body.sums.token);
  visit.column("sums.node_first", body.sums.node_first);
  visit.column("sums.node_size", body.sums.node_size);
  visit("sums.rows", body.sums.rows);
}
template <FieldsOf<DispatchGradient> B, class V>
void visit_body(B& body, V&& visit) {
  visit("dy", body.dy);
  visit("priority", body.priority);
  visit("weights_priority", body.weights_priority);
  visit("weights_later", body.weights_later);
}
template <FieldsOf<DispatchWeights> B, class V>
void visit_body(B& body, V&& visit) {
  visit("priority", body.priority);
}
template <FieldsOf<GradientShare> B, class V>
void visit_body(B& body, V&& visit) {
  visit("gradients", body.gradients);
  visit("counts", body.counts);
}
template <FieldsOf<CombineGradient> B, class V>
void visit_body(B& body, V&& visit) {
  visit.column("input.token", body.gradients.input.token);
  visit.column("input.node_first", body.gradients.input.node_first);
  visit.column("input.node_size", body.gradients.input.node_size);
  visit("input.rows", body.gradients.input.rows);
  visit.column("slots", body.gradients.slots);
  visit("weights", body.gradients.weights);
}

// ---- Steps

template <FieldsOf<StepStart> B, class V>
void visit_body(B& body, V&& visit) {
  visit("step", body.step);
  visit("index", body.index);
  visit("mode", body.mode);
  visit("micro_batches", body.micro_batches);
}
template <FieldsOf<LossPart> B, class V>
void visit_body(B& body, V&& visit) {
  visit("main", body.main);
  visit("mtp", body.mtp);
}
template <FieldsOf<BalancePart> B, class V>
void visit_body(B& body, V&& visit) {
  visit("balance", body.balance);
  visit("loads", body.loads);
}
template <FieldsOf<Observed> B, class V>
void visit_body(B& body, V&& visit) {
  visit("name", body.name);
  visit("tensor", body.tensor);
}
template <FieldsOf<GradientSquares> B, class V>
void visit_body(B& body, V&& visit) {
  visit.list("entries", body.entries, [](auto& entry, auto&& v) {
    v("name", entry.name);
    v("sum", entry.sum);
  });
}
template <FieldsOf<ApplyUpdate> B, class V>
void visit_body(B& body, V&& visit) {
  visit("norm", body.norm);
  visit("scale", body.scale);
  visit("learning_rate", body.learning_rate);
  visit("update", body.update);
}
template <FieldsOf<OwnerDone> B, class V>
void visit_body(B&, V&&) {}
template <FieldsOf<StepReport> B, class V>
void visit_body(B& body, V&& visit) {
  visit("step", body.step);
  visit("index", body.index);
  visit("mode", body.mode);
  visit("main", body.main);
  visit("mtp", body.mtp);
  visit("balance", body.balance);
  visit("total", body.total);
  visit("gradient_norm", body.gradient_norm);
  visit("learning_rate", body.learning_rate);
  visit.list("layers", body.layers, [](auto& layer, auto&& v) {
    v("layer", layer.layer);
    v("max_violation", layer.max_violation);
    v("loads", layer.loads);
  });
  visit("tokens", body.tokens);
}

// ---- Snapshots and checkpoints

template <FieldsOf<SnapshotRequest> B, class V>
void visit_body(B& body, V&& visit) {
  visit("index", body.index);
  visit("purpose", body.purpose);
}
template <FieldsOf<SnapshotPart> B, class V>
void visit_body(B& body, V&& visit) {
  visit("index", body.index);
  visit("purpose", body.purpose);
  visit.list("parameters", body.parameters, [](auto& parameter, auto&& v) {
    v("name", parameter.name);
    v("kind", parameter.kind);
    v("value", parameter.value);
    v("gradient", parameter.gradient);
    v("m", parameter.m);
    v("v", parameter.v);
    v("updates", parameter.updates);
  });
}
template <FieldsOf<CheckpointBegun> B, class V>
void visit_body(B& body, V&& visit) {
  visit("index", body.index);
}
template <FieldsOf<CheckpointWritten> B, class V>
void visit_body(B& body, V&& visit) {
  visit("index", body.index);
  visit("path", body.path);
  visit("error", body.error);
}

// ---- Commands from the outside, and answers

template <FieldsOf<RunTraining> B, class V>
void visit_body(B& body, V&& visit) {
  visit("first", body.first);
  visit("last", body.last);
}
template <FieldsOf<RunStep> B, class V>
void visit_body(B& body, V&& visit) {
  visit("mode", body.mode);
  visit("index", body.index);
  visit("micro_batches", body.micro_batches);
}
template <FieldsOf<Stop> B, class V>
void visit_body(B&, V&&) {}
template <FieldsOf<Idle> B, class V>
void visit_body(B& body, V&& visit) {
  visit("next", body.next);
}
template <FieldsOf<Failure> B, class V>
void visit_body(B& body, V&& visit) {
  visit("message", body.message);
}
template <FieldsOf<GenerateRequest> B, class V>
void visit_body(B& body, V&& visit) {
  visit("prompt", body.prompt);
  visit("tokens_max", body.tokens_max);
  visit("end_token", body.end_token);
  visit("temperature", body.temperature);
  visit("top_p", body.top_p);
  visit("seed", body.seed);
}
template <FieldsOf<NextToken> B, class V>
void visit_body(B& body, V&& visit) {
  visit("token", body.token);
  visit("position", body.position);
  visit("last", body.last);
}
template <FieldsOf<Logits> B, class V>
void visit_body(B& body, V&& visit) {
  visit("row", body.row);
  visit("position", body.position);
}

}  // namespace sluice::actors
