// What the number of a step means to people: steps are counted over training and validation alike.
#pragma once

#include <map>
#include <string>

#include "actors/message.hpp"
#include "runtime/trace/events.hpp"

namespace sluice::trace {

class StepNotes {
 public:
  void met(const actors::StepStart& start) { steps_.insert_or_assign(start.step, start); }
  void met(const SendEvent& event);
  /// "training step 12", "validation after 12 steps"; empty where the number says so itself.
  [[nodiscard]] std::string of(std::int64_t step) const;
  [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(steps_.size()); }
  [[nodiscard]] const std::map<std::int64_t, actors::StepStart>& all() const { return steps_; }

 private:
  std::map<std::int64_t, actors::StepStart> steps_;
};

}  // namespace sluice::trace
