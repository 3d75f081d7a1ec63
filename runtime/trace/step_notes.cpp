// Read off the messages that begin steps.
#include "runtime/trace/step_notes.hpp"

namespace sluice::trace {

void StepNotes::met(const SendEvent& event) {
  const actors::Body start = actors::StepStart{};
  if (event.head.kind != start.index()) return;
  ByteReader bytes(event.message);
  const auto message = decode(bytes, {});
  if (message) met(std::get<actors::StepStart>(message->body));
}

std::string StepNotes::of(std::int64_t step) const {
  const auto found = steps_.find(step);
  if (found == steps_.end()) return "";
  const actors::StepStart& start = found->second;
  if (start.mode == actors::StepMode::kEvaluate)
    return fmt::format("validation after {} steps", start.index);
  return start.index + 1 == step ? "" : fmt::format("training step {}", start.index + 1);
}

}  // namespace sluice::trace
