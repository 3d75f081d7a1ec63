// 1F1B and what grew from it: interleaved stages (Narayanan et al., arXiv 2104.04473) and weight
// gradients that fill the bubble (ZB-H1 of Qi et al., arXiv 2401.10241, which DeepSeek calls ZB1P).
//
// All warm up with forward passes, then alternate, then drain. They differ in how far a rank warms
// up, in which chunk's turn it is, and in whether and how late weights' gradients follow.
#include <algorithm>

#include "graph/schedule/kinds.hpp"

namespace sluice::graph {
namespace {

// Rounds in which every chunk of a rank takes as many micro-batches; P of them where that divides.
std::int32_t rounds(ScheduleSize size) { return std::max(1, size.micro_batches / size.ranks); }

// A chunk's passes come in runs of `run` micro-batches; the chunks take turns.
struct Turns {
  std::int32_t run;
  std::int32_t chunks;
  [[nodiscard]] Pass forward(std::int32_t k) const {
    return {PassKind::kForward, (k / run) % chunks, micro_batch(k)};
  }
  [[nodiscard]] Pass backward(PassKind kind, std::int32_t k) const {
    return {kind, chunks - 1 - (k / run) % chunks, micro_batch(k)};
  }

 private:
  [[nodiscard]] std::int32_t micro_batch(std::int32_t k) const {
    return k / (run * chunks) * run + k % run;
  }
};

Program alternate(Turns turns, std::int32_t total, std::int32_t warm_up) {
  Program out;
  warm_up = std::min(warm_up, total);
  for (std::int32_t k = 0; k < warm_up; ++k) out.push_back(turns.forward(k));
  for (std::int32_t k = 0; k < total; ++k) {
    if (warm_up + k < total) out.push_back(turns.forward(warm_up + k));
    out.push_back(turns.backward(PassKind::kBackward, k));
  }
  return out;
}

Program program_1f1b(ScheduleSize size, std::int32_t rank) {
  const std::int32_t m = size.micro_batches;
  return alternate({m, 1}, m, size.ranks - 1 - rank);
}

// A rank's first backward pass is of its last chunk, so it runs one round of each chunk before; and
// two passes more for every rank to the last, there and back.
Program program_interleaved(ScheduleSize size, std::int32_t rank) {
  const std::int32_t run = size.micro_batches / rounds(size);
  const std::int32_t total = size.micro_batches * size.stages_per_rank;
  return alternate({run, size.stages_per_rank}, total,
                   (size.stages_per_rank - 1) * run + 2 * (size.ranks - 1 - rank));
}

// The order of 1F1B. Rank r leaves its last r weight gradients for later, so that every rank keeps
// P activations, as the first one has to, and fills its bubble with what it left.
Program program_zb1p(ScheduleSize size, std::int32_t rank) {
  Program out;
  std::int32_t inputs = 0, weights = 0;
  for (const Action& action : program_1f1b(size, rank)) {
    if (action.passes().front().kind == PassKind::kForward) {
      out.push_back(action);
      continue;
    }
    out.push_back(Pass{PassKind::kBackwardInput, 0, inputs++});
    if (inputs > rank) out.push_back(Pass{PassKind::kBackwardWeight, 0, weights++});
  }
  while (weights < size.micro_batches) {
    out.push_back(Pass{PassKind::kBackwardWeight, 0, weights++});
  }
  return out;
}

std::string refusal_interleaved(ScheduleSize size) {
  if (size.micro_batches % rounds(size) == 0) return "";
  const std::int32_t fewer = size.micro_batches / size.ranks * size.ranks;
  return fmt::format(
      "needs micro-batches in {} equal rounds of at least one for each rank; {} are "
      "not, {} or {} would be",
      rounds(size), size.micro_batches, fewer, fewer + size.ranks);
}

Placement loop(ScheduleSize size) {
  return Placement::one_way(size.ranks, size.stages_per_rank, size.micro_batches);
}

}  // namespace

ScheduleKind one_forward_one_backward() {
  ScheduleKind kind;
  kind.name = "1f1b";
  kind.about = "one forward, one backward: no more activations than ranks";
  kind.refusal = [](ScheduleSize) { return std::string(); };
  kind.placement = loop;
  kind.program = program_1f1b;
  kind.published = [](ScheduleSize size, const PassTimes& t) {
    return Published{"(PP-1)(F+B)", (size.ranks - 1) * (t.forward + t.backward), "PP", size.ranks};
  };
  return kind;
}

ScheduleKind interleaved() {
  ScheduleKind kind;
  kind.name = "interleaved_1f1b";
  kind.about = "1f1b over several short stages a rank: a smaller bubble, more transfers";
  kind.stages_per_rank_max = 64;
  kind.stages_per_rank_default = 2;
  kind.refusal = refusal_interleaved;
  kind.placement = loop;
  kind.program = program_interleaved;
  kind.published = [](ScheduleSize size, const PassTimes& t) {
    return Published{"(P-1)(F+B)", (size.ranks - 1) * (t.forward + t.backward), "SP+P-1",
                     size.stages_per_rank * size.ranks + size.ranks - 1};
  };
  return kind;
}

ScheduleKind zero_bubble_one_pass() {
  ScheduleKind kind;
  kind.name = "zb1p";
  kind.about = "1f1b with weight gradients apart, which fill the bubble";
  kind.refusal = [](ScheduleSize) { return std::string(); };
  kind.placement = loop;
  kind.program = program_zb1p;
  kind.published = [](ScheduleSize size, const PassTimes& t) {
    return Published{"(PP-1)(F+B-2W)",
                     (size.ranks - 1) * (t.forward + t.backward - 2 * t.backward_weight), "PP",
                     size.ranks};
  };
  return kind;
}

}  // namespace sluice::graph
