// What an actor waits for, at a moment when it acts on nothing: what a hang is explained from.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "actors/message.hpp"

namespace sluice::actors {

struct Waiting {
  std::vector<Key> messages;                   ///< that its flows await
  std::vector<ActorIndex> blocked;             ///< channels at which its flows wait for a credit
  std::map<ActorIndex, std::int32_t> credits;  ///< it has, of each channel that it sends through
  struct Unread {
    Key key{};
    ActorIndex via = kNoActor;  ///< the channel it came through, if any
  };
  std::vector<Unread> unread;  ///< messages that no flow has asked for yet
  std::int64_t tasks = 0;      ///< submitted and not done
  std::int64_t flows = 0;      ///< under way; more than wait above, where they wait for each other
  /// Messages so far, credits not among them, by whom they were handed to or came from: the next
  /// hand, which may be a channel's.
  std::map<ActorIndex, std::int64_t> sent, received;
  struct Window {
    std::int32_t in_flight = 0;  ///< passed on, credit not back from the receiver
    std::int32_t returned = 0;   ///< credits not yet given back to the sender
  };
  std::optional<Window> window;  ///< of a channel
};

}  // namespace sluice::actors
