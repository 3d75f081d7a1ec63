// Sums over the stages that a rank holds.
#include "graph/cost/resources.hpp"

#include <algorithm>

namespace sluice::cost {
namespace {

constexpr double kMasterBytes = 4, kMomentBytes = 4;  // two moments in BF16
constexpr double kGradientBytes = 4, kGatheredBytes = 2;
constexpr double kAdamBytes =
    22;  // read: gradient, master, moments; written: master, moments, copy

// Embedding and head count once, however often a rank uses them: MTP shares them.
UnitParameters held(const Job& job, const graph::Schedule& schedule, const Stages& stages,
                    std::int32_t rank) {
  UnitParameters out;
  bool has_embedding = false, has_head = false;
  for (const graph::Placement::Chunk& chunk : schedule.placement.chunks(rank)) {
    for (const Unit unit : stages[static_cast<std::size_t>(chunk.stage)]) {
      bool* once = unit == Unit::kEmbedding || unit == Unit::kMtpProjection ? &has_embedding
                   : unit == Unit::kHead                                    ? &has_head
                                                                            : nullptr;
      const UnitParameters parameters = parameters_of(unit, job);
      out.experts += parameters.experts;
      if (unit == Unit::kMtpProjection) {
        out.dense += parameters.dense;
        if (!*once) out.dense += parameters_of(Unit::kEmbedding, job).dense;
      } else if (once == nullptr || !*once) {
        out.dense += parameters.dense;
      }
      if (once != nullptr) *once = true;
    }
  }
  return out;
}

// How many ranks hold the same weights, by kind.
struct Copies {
  double dense = 1, experts = 1;
};
Copies copies_of(const Job& job, const graph::Schedule& schedule) {
  const auto routes = static_cast<double>(schedule.placement.routes().size());
  const double pipelines = job.data_parallel_size;
  return {pipelines * routes, pipelines / job.expert_parallel_size * routes};
}

double activations_peak(const Job& job, const graph::Schedule& schedule, const Stages& stages,
                        std::int32_t rank) {
  std::vector<double> saved;
  for (const graph::Placement::Chunk& chunk : schedule.placement.chunks(rank)) {
    double bytes = 0;
    for (const Unit unit : stages[static_cast<std::size_t>(chunk.stage)]) {
      bytes += saved_bytes_of(unit, job);
    }
    saved.push_back(bytes);
  }
  double live = 0, most = 0;
  for (const graph::Action& action : schedule.programs[static_cast<std::size_t>(rank)]) {
    for (const graph::Pass& pass : action.passes()) {
      const double bytes = saved[static_cast<std::size_t>(pass.chunk)];
      using Kind = graph::PassKind;
      if (pass.kind == Kind::kForward) most = std::max(most, live += bytes);
      if (pass.kind == Kind::kBackward || pass.kind == Kind::kBackwardWeight) live -= bytes;
    }
  }
  return most;
}

// Sent by a rank that shares `parameters` with `copies - 1` others: all but its own share.
double exchanged_bytes(double parameters, double copies) {
  return parameters * (kGradientBytes + kGatheredBytes) * (copies - 1) / copies;
}

}  // namespace

Memory memory_of(const Job& job, const graph::Schedule& schedule, const Stages& stages,
                 std::int32_t rank) {
  const UnitParameters parameters = held(job, schedule, stages, rank);
  const Copies copies = copies_of(job, schedule);
  const double all = parameters.dense + parameters.experts;
  const double share = parameters.dense / copies.dense + parameters.experts / copies.experts;
  return {.weights = all * (job.recipe == Recipe::kFp8 ? 3 : 2),
          .gradients = all * kGradientBytes,
          .optimizer = share * (kMasterBytes + kMomentBytes),
          .activations = activations_peak(job, schedule, stages, rank)};
}

double optimizer_seconds(const Job& job, const graph::Schedule& schedule, const Stages& stages,
                         const Hardware& hardware, std::int32_t rank) {
  const UnitParameters parameters = held(job, schedule, stages, rank);
  const Copies copies = copies_of(job, schedule);
  const bool one_node = job.gpus() <= hardware.gpus_per_node;
  const double expert_gb_s = one_node ? hardware.nvlink_gb_s : hardware.ib_gb_s;
  const double dense = exchanged_bytes(parameters.dense, copies.dense) / hardware.nvlink_gb_s;
  const double experts = exchanged_bytes(parameters.experts, copies.experts) / expert_gb_s;
  const double share = parameters.dense / copies.dense + parameters.experts / copies.experts;
  return (dense + experts) / 1e9 + share * kAdamBytes / (hardware.memory_tb_s * 1e12);
}

}  // namespace sluice::cost
