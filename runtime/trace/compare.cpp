// One pass to list what one recording says, one over the other to look it up.
#include "runtime/trace/compare.hpp"

#include <map>
#include <unordered_map>

#include "kernels/base/digest.hpp"
#include "runtime/trace/elements.hpp"
#include "runtime/trace/step_notes.hpp"

namespace sluice::trace {
namespace {

using actors::Body;

template <class T, std::size_t I = 0>
constexpr std::uint32_t kind_of() {
  if constexpr (std::is_same_v<std::variant_alternative_t<I, Body>, T>) return I;
  if constexpr (!std::is_same_v<std::variant_alternative_t<I, Body>, T>) return kind_of<T, I + 1>();
}

bool is_compared(const SendEvent& event) {
  return event.from >= 0 && event.head.kind != kind_of<actors::Credit>() &&
         event.head.kind != kind_of<actors::CheckpointWritten>() &&
         event.head.kind != kind_of<actors::Idle>();
}

// Sender, receiver and key in words of both recordings; messages without a key of their own are
// counted.
class Identity {
 public:
  explicit Identity(const Recording& recording) : recording_(recording) {}
  std::uint64_t of(const SendEvent& event) {
    ByteWriter out;
    out.put_text(recording_.name(event.from));
    out.put_text(recording_.name(event.to));
    put_key(out, event.head.key);
    out.put(event.head.kind);
    const std::uint64_t name = digest(out.bytes());
    return digest(out.bytes(), ++counts_[name]);
  }

 private:
  const Recording& recording_;
  std::unordered_map<std::uint64_t, std::uint64_t> counts_;
};

struct Listed {
  std::uint64_t said = 0;    // digest of the encoded message
  std::uint64_t offset = 0;  // of its record
};

class Side {
 public:
  static Result<Side> open(const std::filesystem::path& path) {
    SLUICE_ASSIGN(LogReader log, LogReader::open(path));
    SLUICE_ASSIGN(Recording recording, read_recording(log));
    SLUICE_ASSIGN(Elements elements, Elements::open(log.path()));
    log.skip_payloads();
    return Side{std::move(log), std::move(recording), std::move(elements)};
  }
  /// The next message that is compared; nothing at the end.
  Result<std::optional<SendEvent>> next() {
    for (;;) {
      SLUICE_ASSIGN(const auto record, log.next());
      if (!record) return std::nullopt;
      SLUICE_ASSIGN(const Event event, parse(*record));
      offset = record->offset;
      if (const auto* payload = std::get_if<PayloadEvent>(&event)) elements.met(*payload);
      if (const auto* send = std::get_if<SendEvent>(&event))
        if (is_compared(*send)) return *send;
    }
  }
  [[nodiscard]] ArraySource source() const {
    return [this](const ArrayInfo& info) { return elements.find(info); };
  }

  LogReader log;
  Recording recording;
  Elements elements;
  std::uint64_t offset = 0;  // of the record of the last message
};

Result<std::unordered_map<std::uint64_t, Listed>> list(Side& side) {
  std::unordered_map<std::uint64_t, Listed> out;
  Identity identity(side.recording);
  for (;;) {
    SLUICE_ASSIGN(const auto event, side.next());
    if (!event) return out;
    out.emplace(identity.of(*event), Listed{digest(event->message), side.offset});
  }
}

// To whom a message goes in the end.
std::string receiver(const Recording& recording, ActorIndex to) {
  for (const graph::ChannelPlan& c : recording.channels)
    if (c.actor == to) return recording.name(c.to);
  return recording.name(to);
}

Result<Difference> tell(const Side& here, const SendEvent& event, Side& there,
                        std::uint64_t offset) {
  there.log.go_to(offset);
  SLUICE_ASSIGN(const auto other, there.next());
  SLUICE_ASSIGN(auto found,
                compare({event.message, here.source()}, {other->message, there.source()}));
  found->actor = here.recording.name(event.from);
  found->receiver = receiver(here.recording, event.to);
  return std::move(*found);
}

}  // namespace

Result<Comparison> compare_recordings(const std::filesystem::path& here,
                                      const std::filesystem::path& there) {
  SLUICE_ASSIGN(Side mine, Side::open(here));
  SLUICE_ASSIGN(Side theirs, Side::open(there));
  Comparison out;
  out.here = mine.recording;
  out.there = theirs.recording;
  SLUICE_ASSIGN(auto listed, list(theirs));
  out.there_closed = theirs.log.closed();
  out.only_there = static_cast<std::int64_t>(listed.size());
  Identity identity(mine.recording);
  StepNotes notes;
  for (;;) {
    SLUICE_ASSIGN(const auto event, mine.next());
    if (!event) break;
    notes.met(*event);
    const auto found = listed.find(identity.of(*event));
    if (found == listed.end()) {
      ++out.only_here;
      continue;
    }
    --out.only_there;
    if (found->second.said == digest(event->message)) {
      ++out.messages;
      continue;
    }
    SLUICE_ASSIGN(out.difference, tell(mine, *event, theirs, found->second.offset));
    out.difference->note = notes.of(event->head.key.step);
    break;
  }
  out.here_closed = mine.log.closed();
  return out;
}

}  // namespace sluice::trace
