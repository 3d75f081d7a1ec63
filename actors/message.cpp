// What messages and keys are called, and how much memory a message holds on to.
#include "actors/message.hpp"

#include <fmt/format.h>

#include <array>

#include "actors/message_fields.hpp"

namespace sluice::actors {
namespace {

struct TopicText {
  std::string_view name;
  bool has_micro_batch = false;
  bool has_layer = false;
};

constexpr std::array<TopicText, 23> kTopics{{
    {"control"},
    {"tokens", true},
    {"targets", true},
    {"activation", true, true},
    {"gradient", true, true},
    {"embedding", true},
    {"embedding gradient", true},
    {"dispatch", true, true},
    {"combine", true, true},
    {"dispatch gradient", true, true},
    {"combine gradient", true, true},
    {"dispatch weights", true, true},
    {"gradient share", false, true},
    {"loss", true},
    {"balance", true, true},
    {"squares"},
    {"update"},
    {"owner done"},
    {"report"},
    {"snapshot"},
    {"written"},
    {"logits", true},
    {"next token", true},
}};
static_assert(kTopics.size() == static_cast<std::size_t>(Topic::kNextToken) + 1);

// In the order of Body.
constexpr std::array<std::string_view, std::variant_size_v<Body>> kBodies{"nothing",
                                                                          "TaskDone",
                                                                          "TimerFired",
                                                                          "Credit",
                                                                          "Tokens",
                                                                          "Hidden",
                                                                          "EmbeddingRows",
                                                                          "Dispatch",
                                                                          "Combine",
                                                                          "DispatchGradient",
                                                                          "CombineGradient",
                                                                          "DispatchWeights",
                                                                          "GradientShare",
                                                                          "StepStart",
                                                                          "LossPart",
                                                                          "BalancePart",
                                                                          "Observed",
                                                                          "GradientSquares",
                                                                          "ApplyUpdate",
                                                                          "OwnerDone",
                                                                          "StepReport",
                                                                          "SnapshotRequest",
                                                                          "SnapshotPart",
                                                                          "CheckpointBegun",
                                                                          "CheckpointWritten",
                                                                          "RunTraining",
                                                                          "RunStep",
                                                                          "Stop",
                                                                          "Idle",
                                                                          "Failure",
                                                                          "GenerateRequest",
                                                                          "NextToken",
                                                                          "Logits"};

const TopicText& text_of(Topic topic) { return kTopics.at(static_cast<std::size_t>(topic)); }

struct Measure {
  std::int64_t bytes = 0;
  void operator()(const char*, const Tensor& tensor) {
    bytes += static_cast<std::int64_t>(tensor.size_bytes());
  }
  void operator()(const char* name, const std::vector<Tensor>& tensors) {
    for (const Tensor& tensor : tensors) (*this)(name, tensor);
  }
  template <class T>
  void operator()(const char*, const T&) {}
  void column(const char*, const std::vector<std::int32_t>&) {}
  template <class T, class F>
  void list(const char*, const std::vector<T>& items, F&& visit_one) {
    for (const T& item : items) visit_one(item, *this);
  }
};

}  // namespace

std::string_view name_of(Topic topic) { return text_of(topic).name; }

std::string to_string(const Key& key) {
  const TopicText& topic = text_of(key.topic);
  std::string out = fmt::format("{} of step {}", topic.name, key.step);
  if (topic.has_micro_batch) out += fmt::format(", micro-batch {}", key.micro_batch);
  if (topic.has_layer) out += fmt::format(", layer {}", key.layer);
  return out;
}

std::int64_t size_bytes(const Message& message) {
  Measure measure;
  std::visit([&measure](const auto& body) { visit_body(body, measure); }, message.body);
  return measure.bytes;
}

std::string_view body_name(std::size_t index) { return kBodies.at(index); }

std::string to_string(const Message& message) {
  return message.key.topic == Topic::kControl ? std::string(body_name(message.body.index()))
                                              : to_string(message.key);
}

}  // namespace sluice::actors
