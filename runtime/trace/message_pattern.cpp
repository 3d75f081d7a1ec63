// Words up to the first keyword are the name; then come pairs.
#include "runtime/trace/message_pattern.hpp"

#include <charconv>
#include <utility>
#include <vector>

namespace sluice::trace {
namespace {

constexpr std::string_view kDone = " done";

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> out;
  std::string word;
  for (const char c : text) {
    if (c != ' ' && c != ',') {
      word += c;
    } else if (!word.empty()) {
      out.push_back(std::exchange(word, {}));
    }
  }
  if (!word.empty()) out.push_back(word);
  return out;
}

bool is_keyword(const std::string& word) {
  return word == "of" || word == "step" || word == "micro-batch" || word == "layer" ||
         word == "from";
}

std::optional<std::int64_t> number_of(std::string_view text) {
  std::int64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

}  // namespace

Delivered describe(const actors::Message& message, std::string from, std::int64_t sequence) {
  const bool is_control = message.key.topic == actors::Topic::kControl;
  Delivered out{std::string(is_control ? actors::body_name(message.body.index())
                                       : actors::name_of(message.key.topic)),
                message.key, std::move(from), sequence};
  if (const auto* start = std::get_if<actors::StepStart>(&message.body)) out.key.step = start->step;
  return out;
}

// A key that says nothing (a step of 0) is left out: such messages are told apart by number.
std::string to_string(const Delivered& d) {
  std::string out = d.what;
  if (d.key.step != 0) {
    actors::Key key = d.key;
    if (d.what.ends_with(kDone)) key.topic = actors::Topic::kDispatch;  // a task has all fields
    const std::string words = to_string(key);
    out += words.substr(words.find(" of "));
  }
  if (!d.from.empty()) out += " from " + d.from;
  return out;
}

Result<MessagePattern> MessagePattern::parse(std::string_view text) {
  MessagePattern out;
  if (text.starts_with('#')) {
    out.sequence_ = number_of(text.substr(1));
    if (!out.sequence_) return invalid_input("message {}: a number belongs behind the #", text);
    return out;
  }
  const std::vector<std::string> words = words_of(text);
  std::size_t i = 0;
  for (; i < words.size() && !is_keyword(words[i]); ++i)
    out.what_ += (i == 0 ? "" : " ") + words[i];
  while (i < words.size()) {
    const std::string& keyword = words[i++];
    if (keyword == "of") continue;
    if (keyword == "from") {
      for (; i < words.size(); ++i) out.from_ += (out.from_.empty() ? "" : " ") + words[i];
      break;
    }
    auto& slot = keyword == "step"          ? out.step_
                 : keyword == "micro-batch" ? out.micro_batch_
                                            : out.layer_;
    slot = is_keyword(keyword) && i < words.size() ? number_of(words[i++]) : std::nullopt;
    if (!slot) {
      return invalid_input(
          "message \"{}\": not understood at \"{}\"; as \"combine of step 3, micro-batch 1, layer "
          "2 "
          "from experts 0.1\", or \"#17\"",
          text, keyword);
    }
  }
  return out;
}

bool MessagePattern::matches(const Delivered& d) const {
  if (sequence_) return *sequence_ == d.sequence;
  return (what_.empty() || what_ == d.what) && (from_.empty() || from_ == d.from) && matches(d.key);
}

bool MessagePattern::matches(const actors::Key& key) const {
  return (!step_ || *step_ == key.step) && (!micro_batch_ || *micro_batch_ == key.micro_batch) &&
         (!layer_ || *layer_ == key.layer);
}

}  // namespace sluice::trace
