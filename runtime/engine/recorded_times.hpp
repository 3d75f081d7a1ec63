// What tasks and messages take on a machine, as a recording of a run there shows it, put to other
// layouts of the same model: other schedules, stages, expert groups and micro-batches.
//
// A task's time belongs to its name, the kind of its layer, and whether it is the first of its kind
// in the step there (it then packs the weights). It grows with the tokens of a micro-batch, of
// expert groups with their share of the experts, and where a task says its operations, with those.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/engine/virtual_run.hpp"
#include "runtime/trace/timeline.hpp"

namespace sluice::engine {

class RecordedTimes {
 public:
  /// Of the training steps after the first `warm_up`, or all where there are no more, the middle
  /// half by duration: those count. Errors: a log that does not read, or that has no whole training
  /// step.
  [[nodiscard]] static Result<RecordedTimes> read(const std::filesystem::path& directory,
                                                  std::int64_t warm_up = 2);

  [[nodiscard]] const trace::Recording& recording() const { return recording_; }
  /// Of the run that was recorded, as shapes.
  [[nodiscard]] const ClusterOptions& options() const { return options_; }
  [[nodiscard]] std::int64_t steps() const { return static_cast<std::int64_t>(step_ns_.size()); }
  /// Median of those that count.
  [[nodiscard]] double step_s() const;

  struct Prediction {
    double step_s = 0;  ///< a step like the others: without what the first one does once
    double busy_s = 0;  ///< of it, tasks on the busiest lane
    std::vector<std::string> estimated;  ///< names of tasks that were not recorded
    VirtualRun run;
  };
  /// `target` is what virtual_options() gives. Errors: a model of other widths, another sequence
  /// length or recipe, a plan that cannot be, and tasks of which nothing like them was recorded.
  [[nodiscard]] Result<Prediction> predict(ClusterOptions target,
                                           const std::optional<RecordTo>& record = {}) const;

 private:
  struct Kind {
    std::string name;
    int layer = 0;  // dense, MoE, multi-token prediction
    bool is_first = false;
    friend auto operator<=>(const Kind&, const Kind&) = default;
  };
  class Model;

  [[nodiscard]] Status check(const ClusterOptions& target) const;
  void add_tasks(const trace::Timeline& timeline, const std::set<std::int64_t>& steps);
  void add_delays(const trace::Timeline& timeline, const std::set<std::int64_t>& steps);

  trace::Recording recording_;
  ClusterOptions options_;
  std::vector<std::int64_t> step_ns_;
  std::map<Kind, double> ns_;  // of one unit of size: mean over the steps that count
  // Means over the same steps.
  double message_ns_ = 0;  // from an actor to the next
  double done_ns_ = 0;     // from a task's end until its actor acts on it
  double next_ns_ = 0;     // between tasks of a lane that has work
  double wake_ns_ = 0;     // until a lane that had none begins
};

}  // namespace sluice::engine
