// From a timeline to a model of times, and a step by that model.
#include "runtime/engine/recorded_times.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "kernels/base/median.hpp"
#include "runtime/engine/run_recording.hpp"

namespace sluice::engine {
namespace {

int layer_kind(const model::ModelConfig& model, std::int32_t layer) {
  if (layer >= model.num_hidden_layers) return 2;
  return model.is_moe(layer) ? 1 : 0;
}

struct Mean {
  double sum = 0, count = 0;
  void add(std::int64_t ns) {
    sum += static_cast<double>(ns);
    count += 1;
  }
  [[nodiscard]] double value() const { return count == 0 ? 0 : sum / count; }
};

// A step that something else disturbed is slow in tasks all over; medians of single tasks would
// miss it, a mean over all steps would count it. So whole steps are chosen.
void keep_middle_half(std::vector<const trace::StepSpan*>& steps) {
  std::ranges::sort(steps, {},
                    [](const trace::StepSpan* step) { return step->ended_ns - step->began_ns; });
  const std::size_t cut = steps.size() / 4;
  steps.erase(steps.end() - static_cast<std::ptrdiff_t>(cut), steps.end());
  steps.erase(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(cut));
}

// What its time grows with.
double size_of(std::string_view name, double operations, const graph::PlanOptions& plan) {
  if (operations > 0) return operations;
  const double tokens = static_cast<double>(plan.micro_batch_size) * plan.sequence_length;
  return name.starts_with("experts") ? tokens / plan.expert_parallel_size : tokens;
}

// Which of a step's tasks pack weights: the first of a name on a rank, for each layer.
class FirstOfStep {
 public:
  bool operator()(const actors::Key& key, std::string_view name, std::int32_t rank) {
    if (key.step != step_) seen_.clear();
    step_ = key.step;
    return seen_.emplace(name, rank, key.layer).second;
  }

 private:
  std::int64_t step_ = -1;
  std::set<std::tuple<std::string_view, std::int32_t, std::int32_t>> seen_;
};

// A task that only some schedules have, by one that was recorded: products or bytes it has in
// common. The head alone is three products (logits, gradient of the input, of the weight); halves
// make the logits each. A copy moves twice what a norm reads, a sum of two with its copy five
// times.
struct Estimate {
  std::string_view name, from;
  double ratio;
};
constexpr std::array<Estimate, 7> kEstimates{{{"head input gradient", "head", 2.0 / 3},
                                              {"head weight gradient", "head", 2.0 / 3},
                                              {"head", "head input gradient", 3.0 / 2},
                                              {"head weight gradient", "head input gradient", 1},
                                              {"share gradients", "gradient norm", 2},
                                              {"sum gradients", "gradient norm", 5},
                                              {"mtp gradient", "norm gradient", 1}}};

}  // namespace

// Asked by SimHost for every task; notes what it had to estimate.
class RecordedTimes::Model {
 public:
  Model(const RecordedTimes& times, const ClusterOptions& target)
      : times_(times), plan_(target.plan), model_(target.model) {}

  std::int64_t operator()(const actors::Task& task, std::int32_t rank) {
    const Kind kind{task.name, layer_kind(model_, task.key.layer),
                    task.operations == 0 && first_(task.key, task.name, rank)};
    const double unit_ns = find(kind);
    return std::llround(unit_ns * size_of(task.name, task.operations, plan_) + times_.next_ns_);
  }
  [[nodiscard]] std::vector<std::string> estimated() const {
    return {estimated_.begin(), estimated_.end()};
  }
  [[nodiscard]] std::vector<std::string> unknown() const {
    return {unknown_.begin(), unknown_.end()};
  }

 private:
  double find(const Kind& kind) {
    if (const double* ns = like(kind)) return *ns;
    for (const Estimate& estimate : kEstimates) {
      if (estimate.name != kind.name) continue;
      const double* ns = like({std::string(estimate.from), kind.layer, kind.is_first});
      if (ns == nullptr) continue;
      estimated_.insert(kind.name);
      return estimate.ratio * *ns;
    }
    unknown_.insert(kind.name);
    return 0;
  }

  // The same, or one that differs in when it ran, or in its layer.
  const double* like(Kind kind) {
    for (const bool is_first : {kind.is_first, !kind.is_first}) {
      const auto found = times_.ns_.find({kind.name, kind.layer, is_first});
      if (found != times_.ns_.end()) return &found->second;
    }
    const auto other = times_.ns_.lower_bound({kind.name, 0, false});
    return other != times_.ns_.end() && other->first.name == kind.name ? &other->second : nullptr;
  }

  const RecordedTimes& times_;
  graph::PlanOptions plan_;
  model::ModelConfig model_;
  FirstOfStep first_;
  std::set<std::string> estimated_, unknown_;
};

Result<RecordedTimes> RecordedTimes::read(const std::filesystem::path& directory,
                                          std::int64_t warm_up) {
  SLUICE_ASSIGN(const trace::Timeline timeline, trace::read_timeline(directory));
  RecordedTimes out;
  out.recording_ = timeline.recording;
  SLUICE_ASSIGN(out.options_, cluster_options(out.recording_, {}));
  out.options_.use = model::ParameterUse::kShapes;
  // SimHost's ranks have lanes of their own, whatever the config says.
  out.options_.device.ranks = out.recording_.ranks_share_lanes ? 1 : out.options_.plan.ranks();
  std::vector<const trace::StepSpan*> whole;
  for (const trace::StepSpan& step : timeline.steps) {
    if (step.start.mode == actors::StepMode::kTrain && step.ended_ns != trace::kNone)
      whole.push_back(&step);
  }
  if (whole.empty()) {
    return invalid_input("{} has no whole training step; record one with sluice train --record",
                         directory.string());
  }
  if (static_cast<std::int64_t>(whole.size()) > warm_up)
    whole.erase(whole.begin(), whole.begin() + warm_up);
  keep_middle_half(whole);
  std::set<std::int64_t> steps;
  for (const trace::StepSpan* step : whole) {
    steps.insert(step->start.step);
    out.step_ns_.push_back(step->ended_ns - step->began_ns);
  }
  out.add_tasks(timeline, steps);
  out.add_delays(timeline, steps);
  return out;
}

double RecordedTimes::step_s() const { return median({step_ns_.begin(), step_ns_.end()}) * 1e-9; }

void RecordedTimes::add_tasks(const trace::Timeline& timeline,
                              const std::set<std::int64_t>& steps) {
  struct Total {
    double ns = 0, size = 0;
  };
  std::map<Kind, Total> totals;
  FirstOfStep first;
  for (const trace::TaskSpan& task : timeline.tasks) {
    if (!steps.contains(task.key.step) || task.name == "write checkpoint" ||
        task.name == "snapshot")
      continue;
    const std::int32_t rank = recording_.actors.at(static_cast<std::size_t>(task.actor)).rank;
    const Kind kind{std::string(task.name), layer_kind(options_.model, task.key.layer),
                    task.operations == 0 && first(task.key, task.name, rank)};
    Total& total = totals[kind];
    total.ns += static_cast<double>(task.times.ended_ns - task.times.started_ns);
    total.size += size_of(task.name, task.operations, options_.plan);
  }
  for (const auto& [kind, total] : totals) ns_[kind] = total.ns / total.size;
}

// A message through a channel is two from actor to actor. How late an actor learns that its task is
// done shows in the first thing it does then.
void RecordedTimes::add_delays(const trace::Timeline& timeline,
                               const std::set<std::int64_t>& steps) {
  Mean message, done, next, wake;
  std::map<std::int32_t, std::int64_t> acted;  // by task
  for (const trace::Flight& flight : timeline.messages) {
    if (flight.cause.task != trace::kNone) acted.try_emplace(flight.cause.task, flight.sent_ns);
    if (flight.arrived_ns == trace::kNone || flight.from < 0 || flight.to < 0) continue;
    if (!steps.contains(flight.head.key.step)) continue;
    const std::int64_t ns = flight.arrived_ns - flight.sent_ns;
    message.add(flight.channel == trace::kNone ? ns : ns / 2);
  }
  for (const trace::TaskSpan& task : timeline.tasks) {
    if (task.cause.task == trace::kNone) continue;
    std::int64_t& at = acted.try_emplace(task.cause.task, task.times.submitted_ns).first->second;
    at = std::min(at, task.times.submitted_ns);
  }
  std::map<std::int32_t, std::int64_t> lane_free;  // since when
  for (std::size_t i = 0; i < timeline.tasks.size(); ++i) {
    const trace::TaskSpan& task = timeline.tasks[i];
    const std::int64_t free_ns = lane_free[task.lane];
    lane_free[task.lane] = task.times.ended_ns;
    if (!steps.contains(task.key.step)) continue;
    const bool was_idle = task.times.submitted_ns > free_ns;
    (was_idle ? wake : next)
        .add(task.times.started_ns - std::max(task.times.submitted_ns, free_ns));
    const auto found = acted.find(static_cast<std::int32_t>(i));
    if (found != acted.end()) done.add(found->second - task.times.ended_ns);
  }
  message_ns_ = message.value();
  done_ns_ = done.value();
  next_ns_ = next.value();
  wake_ns_ = wake.value();
}

Status RecordedTimes::check(const ClusterOptions& target) const {
  model::ModelConfig recorded = options_.model, wanted = target.model;
  for (model::ModelConfig* model : {&recorded, &wanted}) {
    model->num_hidden_layers = 1;  // how many there are of a kind changes no time
    model->first_k_dense_replace = 0;
    model->num_nextn_predict_layers = 0;
    model->bos_token_id = model->eos_token_id = 0;
  }
  std::vector<std::string> differing;
  std::map<std::string, std::string> values;
  recorded.visit_fields(
      [&](const auto& field) { values[std::string(field.name)] = fmt::format("{}", field.value); });
  wanted.visit_fields([&](const auto& field) {
    const std::string text = fmt::format("{}", field.value);
    const std::string& before = values[std::string(field.name)];
    if (before != text)
      differing.push_back(fmt::format("{} is {}, recorded was {}", field.name, text, before));
  });
  if (target.plan.sequence_length != options_.plan.sequence_length) {
    differing.push_back(fmt::format("train.sequence_length is {}, recorded was {}",
                                    target.plan.sequence_length, options_.plan.sequence_length));
  }
  if (target.recipe != options_.recipe) differing.push_back("precision.recipe differs");
  if (differing.empty()) return {};
  return invalid_input(
      "the recording's times are of other tasks than the config's: {}; record a run of this model",
      fmt::join(differing, "; "));
}

Result<RecordedTimes::Prediction> RecordedTimes::predict(
    ClusterOptions target, const std::optional<RecordTo>& record) const {
  SLUICE_TRY(check(target));
  const auto tasks = std::make_shared<Model>(*this, target);  // SimHost copies what it is given
  host::SimHost::Config times;
  times.ranks_share_lanes = target.device.ranks == 1;
  times.task_model = [tasks](const actors::Task& task, std::int32_t rank) {
    return (*tasks)(task, rank);
  };
  times.lane_wake_ns = std::llround(wake_ns_);
  times.message_model = [this](const actors::Message& message, graph::ActorIndex) {
    const bool is_done = std::holds_alternative<actors::TaskDone>(message.body);
    return static_cast<std::int64_t>(std::llround(is_done ? done_ns_ : message_ns_));
  };
  constexpr std::int64_t kSteps = 3;
  Prediction out;
  target.supervisor = {};
  SLUICE_ASSIGN(out.run, run_virtually(std::move(target), std::move(times), kSteps, record));
  if (!tasks->unknown().empty()) {
    return invalid_input(
        "nothing in the recording says how long these tasks take: {}; record a run that has them",
        fmt::join(tasks->unknown(), ", "));
  }
  out.step_s = static_cast<double>(out.run.step_ns.back()) * 1e-9;
  for (const host::SimHost::LaneStatistics& lane : out.run.computed) {
    const double busy_ns = static_cast<double>(lane.busy_ns) / kSteps;
    out.busy_s = std::max(out.busy_s, busy_ns * 1e-9);
  }
  out.estimated = tasks->estimated();
  return out;
}

}  // namespace sluice::engine
