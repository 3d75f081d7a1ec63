// Sizes checked against each other, layers dealt to stages.
#include "graph/cost/layout.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

namespace sluice::cost {
namespace {

// Units before, in and after the main layers.
std::vector<Unit> last_units(const model::ModelConfig& model) {
  std::vector<Unit> out{Unit::kHead};
  for (std::int64_t depth = 0; depth < model.num_nextn_predict_layers; ++depth) {
    out.insert(out.end(), {Unit::kMtpProjection, Unit::kMoeLayer, Unit::kHead});
  }
  return out;
}
Unit layer_unit(const model::ModelConfig& model, std::int64_t layer) {
  return model.is_moe(layer) ? Unit::kMoeLayer : Unit::kDenseLayer;
}

std::string sum_text(const std::vector<std::int64_t>& layers) {
  return fmt::format("{} in {} stages",
                     std::accumulate(layers.begin(), layers.end(), std::int64_t{0}), layers.size());
}

// The fewest stages that hold all layers with none above `limit`, filled from the front; the
// layers of each.
std::vector<std::int64_t> filled(const std::vector<double>& cost, double first, double last,
                                 double limit, std::int32_t stages) {
  std::vector<std::int64_t> out;
  const auto layers = static_cast<std::int64_t>(cost.size());
  std::int64_t next = 0;
  for (std::int32_t stage = 0; stage < stages; ++stage) {
    const std::int64_t after = stages - stage - 1;  // each needs a layer
    double sum = (stage == 0 ? first : 0) + (after == 0 ? last : 0);
    std::int64_t count = 0;
    while (next < layers - after &&
           (count == 0 || sum + cost[static_cast<std::size_t>(next)] <= limit)) {
      sum += cost[static_cast<std::size_t>(next++)];
      ++count;
    }
    if (sum > limit) return {};
    out.push_back(count);
  }
  return next == layers ? out : std::vector<std::int64_t>{};
}

}  // namespace

std::string_view name_of(Unit unit) {
  return std::array<std::string_view, 5>{"embedding", "dense layer", "moe layer", "mtp projection",
                                         "head"}[static_cast<std::size_t>(unit)];
}

Status validate(const Job& job) {
  if (job.data_parallel_size % job.expert_parallel_size != 0) {
    return invalid_input(
        "topology.expert_parallel_size {} does not divide topology.data_parallel_size {}: the "
        "pipelines that share a set of experts are some of all; raise data_parallel_size to a "
        "multiple",
        job.expert_parallel_size, job.data_parallel_size);
  }
  if (job.model.n_routed_experts % job.expert_parallel_size != 0) {
    return invalid_input("topology.expert_parallel_size {} does not divide the model's {} experts",
                         job.expert_parallel_size, job.model.n_routed_experts);
  }
  const std::int64_t micro_batch = job.micro_batch_size * job.data_parallel_size;
  if (job.global_batch_size % micro_batch != 0 || job.global_batch_size < micro_batch) {
    return invalid_input(
        "train.global_batch_size {} is no multiple of micro_batch_size {} times "
        "topology.data_parallel_size {}; use {}",
        job.global_batch_size, job.micro_batch_size, job.data_parallel_size,
        (job.global_batch_size + micro_batch - 1) / micro_batch * micro_batch);
  }
  if (!(job.expert_load >= 1 && job.expert_load <= 1e3)) {
    return invalid_input("expert load {} is not from 1 to 1000: it is the most over the mean",
                         job.expert_load);
  }
  return {};
}

Result<graph::Schedule> schedule_of(const Job& job) {
  const auto micro_batches = static_cast<std::int32_t>(job.micro_batches());
  if (!job.schedule_read) {
    return graph::make_schedule(job.schedule, {job.pipeline_parallel_size, micro_batches, 0});
  }
  const graph::Placement& placement = job.schedule_read->placement;
  if (placement.ranks() != job.pipeline_parallel_size ||
      placement.micro_batches() != micro_batches) {
    return invalid_input(
        "the schedule is of {} ranks and {} micro-batches, the config of {} and {}",
        placement.ranks(), placement.micro_batches(), job.pipeline_parallel_size, micro_batches);
  }
  return *job.schedule_read;
}

Result<Stages> stages_of(const model::ModelConfig& model, const std::vector<std::int64_t>& layers,
                         std::int32_t stages) {
  const std::int64_t sum = std::accumulate(layers.begin(), layers.end(), std::int64_t{0});
  if (static_cast<std::int32_t>(layers.size()) != stages || sum != model.num_hidden_layers) {
    return invalid_input(
        "topology.layers_per_stage is {}, the model has {} layers and the schedule {} stages",
        sum_text(layers), model.num_hidden_layers, stages);
  }
  Stages out(layers.size());
  std::int64_t layer = 0;
  for (std::size_t stage = 0; stage < layers.size(); ++stage) {
    if (stage == 0) out[stage].push_back(Unit::kEmbedding);
    for (std::int64_t i = 0; i < layers[stage]; ++i) {
      out[stage].push_back(layer_unit(model, layer++));
    }
  }
  const std::vector<Unit> last = last_units(model);
  out.back().insert(out.back().end(), last.begin(), last.end());
  return out;
}

std::vector<std::int64_t> balanced_layers(const model::ModelConfig& model, std::int32_t stages,
                                          const std::vector<double>& seconds) {
  const auto of = [&](Unit unit) { return seconds[static_cast<std::size_t>(unit)]; };
  std::vector<double> cost;
  for (std::int64_t layer = 0; layer < model.num_hidden_layers; ++layer) {
    cost.push_back(of(layer_unit(model, layer)));
  }
  double last = 0;
  for (const Unit unit : last_units(model)) last += of(unit);
  const double first = of(Unit::kEmbedding);
  double low = 0;
  double high = std::accumulate(cost.begin(), cost.end(), first + last);
  std::vector<std::int64_t> best = filled(cost, first, last, high * 2, stages);
  for (int i = 0; i < 60; ++i) {  // halves the interval to less than a rounding
    const double middle = (low + high) / 2;
    auto layers = filled(cost, first, last, middle, stages);
    if (layers.empty()) {
      low = middle;
    } else {
      high = middle;
      best = std::move(layers);
    }
  }
  return best;
}

}  // namespace sluice::cost
