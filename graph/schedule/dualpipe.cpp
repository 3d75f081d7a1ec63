// DualPipe and DualPipeV (deepseek-ai/DualPipe; DeepSeek-V3 report, section 3.2.1): micro-batches
// enter at both ends of the pipeline, and a forward pass of one way overlaps a backward pass of the
// other. DualPipeV is its first half: what would come from the other end comes back from the last
// rank.
#include <algorithm>

#include "graph/schedule/kinds.hpp"

namespace sluice::graph {
namespace {

// Where a rank stands in one half of the pipeline.
struct Position {
  std::int32_t half = 0;           // ranks from an end to the middle
  std::int32_t from_end = 0;       // 0: at the end, half - 1: in the middle
  std::int32_t micro_batches = 0;  // of each way
  bool is_far = false;             // of the second half: the ways are exchanged
};

// The eight steps of the reference. Phase 0 is the way that enters at this rank's end. Weight
// gradients that wait are taken oldest first.
class Writer {
 public:
  explicit Writer(Position position) : at_(position) {}

  Program write() {
    const std::int32_t to_middle = at_.half - 1 - at_.from_end;
    const std::int32_t from_end = at_.from_end + 1;
    for (std::int32_t i = 0; i < 2 * to_middle; ++i) add(PassKind::kForward, 0);
    for (std::int32_t i = 0; i < from_end; ++i) {
      add(PassKind::kForward, 0);
      add(PassKind::kForward, 1);
    }
    for (std::int32_t i = 0; i < to_middle; ++i) {
      add(PassKind::kBackwardInput, 1);
      add_weight();
      add(PassKind::kForward, 1);
    }
    steady(at_.micro_batches - 2 * at_.half + from_end, to_middle == 0);
    for (std::int32_t i = 0; i < to_middle; ++i) {
      add(PassKind::kBackward, 1);
      add_pair(1, 0);
    }
    drain(from_end);
    for (std::int32_t i = 0; i < to_middle; ++i) {
      add_weight();
      add(PassKind::kBackwardInput, 0);
    }
    for (std::int32_t i = 0; i < from_end; ++i) add_weight();
    return std::move(program_);
  }

 private:
  // Nothing overlaps in the middle rank's first pair: the others get its results earlier.
  void steady(std::int32_t count, bool is_middle) {
    for (std::int32_t i = 0; i < count; ++i) {
      if (i == 0 && is_middle) {
        add(PassKind::kForward, 0);
        add(PassKind::kBackward, 1);
      } else {
        add_pair(0, 1);
      }
      add_pair(1, 0);
    }
  }

  // Backward passes of both ways; the later half leaves the weights' gradients to fill the end.
  void drain(std::int32_t count) {
    for (std::int32_t i = 0; i < 2 * count; ++i) {
      add(i < count ? PassKind::kBackward : PassKind::kBackwardInput, i % 2 == 0 ? 1 : 0);
    }
  }

  Pass next(PassKind kind, std::int32_t phase) {
    const std::int32_t chunk = at_.is_far ? 1 - phase : phase;
    auto& counters = kind == PassKind::kForward ? forward_ : backward_;
    return {kind, chunk, counters[static_cast<std::size_t>(chunk)]++};
  }
  void add(PassKind kind, std::int32_t phase) {
    const Pass pass = next(kind, phase);
    program_.push_back(pass);
    if (kind == PassKind::kBackwardInput) {
      waiting_.push_back({PassKind::kBackwardWeight, pass.chunk, pass.micro_batch});
    }
  }
  void add_pair(std::int32_t forward, std::int32_t backward) {
    const Pass first = next(PassKind::kForward, forward);
    program_.push_back(Action(first, next(PassKind::kBackward, backward)));
  }
  void add_weight() { program_.push_back(waiting_[weights_++]); }

  Position at_;
  std::array<std::int32_t, 2> forward_{}, backward_{};
  std::vector<Pass> waiting_;  // weight gradients in order; [0, weights_) are in the program
  std::size_t weights_ = 0;
  Program program_;
};

Published published_by_deepseek(std::int32_t stages, const PassTimes& t) {
  return {"(PP/2-1)(F&B+B-3W)", (stages / 2 - 1) * (t.pair + t.backward - 3 * t.backward_weight),
          "PP+1", stages + 1};
}

std::string refusal_dualpipe(ScheduleSize size) {
  if (size.ranks % 2 != 0) {
    return fmt::format(
        "needs an even number of ranks and has {}; use {}, or dualpipev, which takes "
        "any number",
        size.ranks, size.ranks + 1);
  }
  if (size.micro_batches < 2 * size.ranks || size.micro_batches % 2 != 0) {
    return fmt::format(
        "needs an even number of micro-batches, at least two for each rank, and has "
        "{} for {} ranks; use {} or more",
        size.micro_batches, size.ranks,
        std::max(2 * size.ranks, size.micro_batches + size.micro_batches % 2));
  }
  return "";
}

std::string refusal_dualpipe_v(ScheduleSize size) {
  if (size.micro_batches >= 2 * size.ranks) return "";
  return fmt::format(
      "needs at least two micro-batches for each rank and has {} for {} ranks; use {} or more",
      size.micro_batches, size.ranks, 2 * size.ranks);
}

}  // namespace

ScheduleKind dualpipe() {
  ScheduleKind kind;
  kind.name = "dualpipe";
  kind.about = "from both ends at once, forward over backward; every stage is held twice";
  kind.stages_per_rank_min = kind.stages_per_rank_max = kind.stages_per_rank_default = 2;
  kind.refusal = refusal_dualpipe;
  kind.placement = [](ScheduleSize size) {
    return Placement::two_ways(size.ranks, size.micro_batches);
  };
  kind.program = [](ScheduleSize size, std::int32_t rank) {
    const std::int32_t from_end = std::min(rank, size.ranks - 1 - rank);
    return Writer({size.ranks / 2, from_end, size.micro_batches / 2, from_end != rank}).write();
  };
  kind.published = [](ScheduleSize size, const PassTimes& times) {
    return published_by_deepseek(size.ranks, times);
  };
  return kind;
}

ScheduleKind dualpipe_v() {
  ScheduleKind kind;
  kind.name = "dualpipev";
  kind.about = "dualpipe cut in half: two stages a rank in a V, each held once";
  kind.stages_per_rank_min = kind.stages_per_rank_max = kind.stages_per_rank_default = 2;
  kind.refusal = refusal_dualpipe_v;
  kind.placement = [](ScheduleSize size) {
    return Placement::v_shape(size.ranks, size.micro_batches);
  };
  kind.program = [](ScheduleSize size, std::int32_t rank) {
    return Writer({size.ranks, rank, size.micro_batches, false}).write();
  };
  kind.published = [](ScheduleSize size, const PassTimes& times) {
    return published_by_deepseek(2 * size.ranks, times);
  };
  return kind;
}

}  // namespace sluice::graph
