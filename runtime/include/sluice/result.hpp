// What comes back: Outcome<T>, a value or a Failure, and the values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace sluice {

/// One failure: `message` says what, where (file, line or key) and the next step.
struct Failure {
  enum class Kind {
    kInvalidInput,  ///< what the caller gave is wrong
    kFailed,        ///< it went wrong later: disk full, a file vanished
  };
  Kind kind = Kind::kFailed;
  std::string message;
};

/// A T, or the Failure that stood in its way. Reading the wrong one throws std::bad_variant_access.
template <class T>
class [[nodiscard]] Outcome {
 public:
  Outcome(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Outcome(Failure failure) : state_(std::in_place_index<1>, std::move(failure)) {}

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  [[nodiscard]] T& value() { return std::get<0>(state_); }
  [[nodiscard]] const T& value() const { return std::get<0>(state_); }
  [[nodiscard]] const Failure& failure() const { return std::get<1>(state_); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Failure> state_;
};

/// One optimizer step.
struct TrainProgress {
  std::int64_t step = 0;         ///< optimizer steps done, over the whole run
  std::int64_t steps = 0;        ///< of the whole run
  double loss = 0;               ///< next-token cross entropy of the step's batch, nats a token
  std::vector<double> mtp_loss;  ///< of each multi-token prediction depth
  double gradient_norm = 0;      ///< before clipping
  double learning_rate = 0;
  double max_violation =
      0;  ///< MaxVio of the worst layer: most loaded expert over the mean, less 1
  double tokens_per_s = 0;
  double remaining_s = 0;
  std::int64_t memory_bytes = 0;  ///< resident
};

struct TrainResult {
  std::string checkpoint;                 ///< folder of the last one written; Hugging Face's layout
  std::int64_t steps_done = 0;            ///< over the whole run
  bool complete = false;                  ///< false: on_step asked to stop
  std::vector<double> losses;             ///< of each step that ran, in order
  std::optional<double> validation_loss;  ///< the last one measured
  double unigram_loss = 0;  ///< entropy of the validation text's tokens; 0: no such text
};

struct GenerateResult {
  std::string text;  ///< without the prompt
  std::vector<std::int32_t> tokens, prompt_tokens;
  bool ended = false;            ///< by the end-of-text token
  double prompt_seconds = 0;     ///< until the first token
  double seconds_per_token = 0;  ///< of the tokens after the first
};

}  // namespace sluice
