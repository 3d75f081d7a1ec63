// Edges from who waits to whom, then books, circles and ends.
#include "actors/wait_graph.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>

namespace sluice::actors {
namespace {

using graph::ChannelPlan;
using graph::ChannelRole;
using graph::Plan;

std::optional<ChannelRole> role_of(Topic topic) {
  switch (topic) {
    case Topic::kTokens: return ChannelRole::kTokens;
    case Topic::kTargets: return ChannelRole::kTargets;
    case Topic::kActivation: return ChannelRole::kActivation;
    case Topic::kGradient: return ChannelRole::kGradient;
    case Topic::kEmbedding: return ChannelRole::kEmbedding;
    case Topic::kEmbeddingGradient: return ChannelRole::kEmbeddingGradient;
    case Topic::kDispatch:
    case Topic::kDispatchGradient:
    case Topic::kDispatchWeights: return ChannelRole::kDispatch;
    case Topic::kCombine:
    case Topic::kCombineGradient: return ChannelRole::kCombine;
    case Topic::kGradientShare: return ChannelRole::kGradientShare;
    default: return std::nullopt;
  }
}

// Whether a channel of the right role carries this very key.
bool carries(const Plan& plan, const ChannelPlan& channel, const Key& key) {
  if (channel.role == ChannelRole::kCombine) {
    const auto group = std::find_if(plan.expert_groups.begin(), plan.expert_groups.end(),
                                    [&](const auto& g) { return g.actor == channel.from; });
    return group != plan.expert_groups.end() && group->expert_rank == key.part;
  }
  const bool between_chunks =
      channel.role == ChannelRole::kActivation || channel.role == ChannelRole::kGradient;
  return !between_chunks || channel.stage == key.layer;
}

std::vector<ActorIndex> stages_of(const Plan& plan) {
  std::vector<ActorIndex> out;
  for (const graph::StagePlan& stage : plan.stages) out.push_back(stage.actor);
  return out;
}

class Graph {
 public:
  Graph(const Plan& plan, std::span<const std::optional<Waiting>> actors)
      : plan_(plan), actors_(actors) {
    for (std::size_t i = 0; i < actors_.size(); ++i)
      if (actors_[i]) add_edges(static_cast<ActorIndex>(i), *actors_[i]);
  }

  HangExplanation explain() {
    HangExplanation out;
    std::vector<ActorIndex> around;
    out.cause = silent(around);
    if (out.cause.empty()) out.cause = unbalanced(around);
    if (out.cause.empty()) out.cause = circle(around);
    if (out.cause.empty()) out.cause = idle_end(around);
    if (!out.cause.empty()) out.waits = waits_from(around);
    return out;
  }

 private:
  struct Edge {
    ActorIndex from = kNoActor;
    ActorIndex to = kNoActor;
    std::string text;
  };

  [[nodiscard]] const std::string& name(ActorIndex actor) const {
    return plan_.actors[static_cast<std::size_t>(actor)].name;
  }
  [[nodiscard]] const Waiting* at(ActorIndex actor) const {
    const auto& found = actors_[static_cast<std::size_t>(actor)];
    return found ? &*found : nullptr;
  }
  [[nodiscard]] std::string names(const std::vector<ActorIndex>& actors) const {
    std::string out;
    for (const ActorIndex actor : actors) out += (out.empty() ? "" : " or ") + name(actor);
    return out;
  }

  void add_edges(ActorIndex actor, const Waiting& waiting) {
    for (const Key& key : waiting.messages) {
      const std::vector<ActorIndex> senders = senders_of(plan_, actor, key);
      const std::string text = fmt::format("{} waits for {}{}", name(actor), to_string(key),
                                           senders.empty() ? "" : " from " + names(senders));
      for (const ActorIndex sender : senders) edges_.push_back({actor, sender, text});
      if (senders.empty()) edges_.push_back({actor, kNoActor, text});
    }
    for (const ChannelPlan& channel : plan_.channels) {
      const auto flows = std::count(waiting.blocked.begin(), waiting.blocked.end(), channel.actor);
      if (channel.from != actor || flows == 0) continue;
      edges_.push_back({actor, channel.to,
                        fmt::format("{} waits for a credit of {}{}", name(actor),
                                    name(channel.actor), unread_words(channel))});
    }
  }

  // What lies at the receiver and keeps the credits.
  [[nodiscard]] std::string unread_words(const ChannelPlan& channel) const {
    const Waiting* receiver = at(channel.to);
    if (receiver == nullptr) return "";
    std::string out;
    for (const Waiting::Unread& unread : receiver->unread) {
      if (unread.via != channel.actor) continue;
      out += (out.empty() ? "" : "; ") + to_string(unread.key);
    }
    return out.empty() ? "" : fmt::format(": {} has not taken {}", name(channel.to), out);
  }

  // ---- Causes

  std::string silent(std::vector<ActorIndex>& around) const {
    std::string out;
    for (std::size_t i = 0; i < actors_.size(); ++i) {
      if (actors_[i]) continue;
      around.push_back(static_cast<ActorIndex>(i));
      out += (out.empty() ? "" : ", ") + name(around.back());
    }
    if (out.empty()) return out;
    return out + (around.size() == 1 ? " does" : " do") +
           " not answer: down, or busy with one message without end";
  }

  // Every message handed over has arrived, and a channel's credits are all somewhere.
  std::string unbalanced(std::vector<ActorIndex>& around) const {
    for (std::size_t i = 0; i < actors_.size(); ++i) {
      if (!actors_[i]) continue;
      for (const auto& [to, count] : actors_[i]->sent) {
        const Waiting* receiver = to >= 0 ? at(to) : nullptr;
        if (receiver == nullptr) continue;
        const auto from = static_cast<ActorIndex>(i);
        const auto found = receiver->received.find(from);
        const std::int64_t lost = count - (found == receiver->received.end() ? 0 : found->second);
        if (lost > 0) return lost_message(from, to, lost, around);
      }
    }
    for (const ChannelPlan& channel : plan_.channels) {
      std::string out = lost_credits(channel, around);
      if (!out.empty()) return out;
    }
    return "";
  }

  std::string lost_message(ActorIndex from, ActorIndex to, std::int64_t count,
                           std::vector<ActorIndex>& around) const {
    const auto channel =
        std::find_if(plan_.channels.begin(), plan_.channels.end(),
                     [&](const ChannelPlan& c) { return c.actor == from || c.actor == to; });
    const bool direct = channel == plan_.channels.end();
    around = direct ? std::vector{to, from} : std::vector{channel->to, channel->from};
    const std::optional<Key> key = direct ? awaited(to, from, std::nullopt)
                                          : awaited(channel->to, channel->from, channel->role);
    const std::string where = fmt::format("lost between {} and {}", name(from), name(to));
    if (key) return fmt::format("{} was {}", to_string(*key), where);
    return fmt::format("{} message{} {}", count, count == 1 ? " was" : "s were", where);
  }

  // What the receiver still awaits of this sender, through a channel or not.
  [[nodiscard]] std::optional<Key> awaited(ActorIndex receiver, ActorIndex sender,
                                           std::optional<ChannelRole> role) const {
    if (at(receiver) == nullptr) return std::nullopt;
    for (const Key& key : at(receiver)->messages) {
      if (role_of(key.topic) != role) continue;
      const std::vector<ActorIndex> senders = senders_of(plan_, receiver, key);
      if (std::find(senders.begin(), senders.end(), sender) != senders.end()) return key;
    }
    return std::nullopt;
  }

  // A window is whole: credits at the sender, messages at the receiver, credits at the channel.
  std::string lost_credits(const ChannelPlan& channel, std::vector<ActorIndex>& around) const {
    const Waiting* from = at(channel.from);
    const Waiting* to = at(channel.to);
    const Waiting* self = at(channel.actor);
    if (from == nullptr || to == nullptr || self == nullptr || !self->window) return "";
    const auto credits = from->credits.find(channel.actor);
    if (credits == from->credits.end()) return "";
    const Waiting::Window& window = *self->window;
    const auto unread = static_cast<std::int32_t>(
        std::count_if(to->unread.begin(), to->unread.end(),
                      [&](const auto& u) { return u.via == channel.actor; }));
    const std::int32_t before =
        channel.credits - credits->second - window.in_flight - window.returned;
    const std::int32_t count = before != 0 ? before : window.in_flight - unread;
    if (count == 0) return "";
    around = {channel.to, channel.from};
    return fmt::format("{} of {} credits {} lost between {} and {}", count, channel.credits,
                       count == 1 ? "was" : "were", name(before != 0 ? channel.from : channel.to),
                       name(channel.actor));
  }

  // Depth first from every actor: an edge to one that is on the path closes a circle.
  std::string circle(std::vector<ActorIndex>& around) const {
    std::set<ActorIndex> done;
    for (const Edge& start : edges_) {
      std::vector<const Edge*> path;
      if (!find_circle(start.from, path, done)) continue;
      std::string out = "actors wait for each other in a circle: ";
      for (const Edge* edge : path) {
        around.push_back(edge->from);
        out += (edge == path.front() ? "" : ", and ") + edge->text;
      }
      return out;
    }
    return "";
  }

  bool find_circle(ActorIndex actor, std::vector<const Edge*>& path,
                   std::set<ActorIndex>& done) const {
    if (done.contains(actor)) return false;
    for (const Edge& edge : edges_) {
      if (edge.from != actor || edge.to == kNoActor) continue;
      path.push_back(&edge);
      const auto first =
          std::find_if(path.begin(), path.end(), [&](const Edge* e) { return e->from == edge.to; });
      if (first != path.end()) {
        path.erase(path.begin(), first);
        return true;
      }
      if (find_circle(edge.to, path, done)) return true;
      path.pop_back();
    }
    done.insert(actor);
    return false;
  }

  // No circle: every chain ends, at somebody who waits for nobody.
  std::string idle_end(std::vector<ActorIndex>& around) const {
    for (const Edge& edge : edges_) {
      if (edge.to == kNoActor) {
        around = {edge.from};
        return edge.text + ", which nobody sends";
      }
      const bool waits = std::any_of(edges_.begin(), edges_.end(),
                                     [&](const Edge& e) { return e.from == edge.to; });
      if (waits) continue;
      around = {edge.to};
      const Waiting* end = at(edge.to);
      const bool turns = end != nullptr && end->flows > 0;
      return fmt::format(
          "{} {}, though {}", name(edge.to),
          turns ? "goes on with nothing before it gets more" : "has nothing left to do", edge.text);
    }
    return "";
  }

  // Breadth first against the edges.
  [[nodiscard]] std::vector<std::string> waits_from(const std::vector<ActorIndex>& around) const {
    std::vector<std::string> out;
    std::set<ActorIndex> met(around.begin(), around.end());
    std::deque<ActorIndex> next(around.begin(), around.end());
    const auto tell = [&](const Edge& edge) {
      if (std::find(out.begin(), out.end(), edge.text) == out.end()) out.push_back(edge.text);
    };
    while (!next.empty()) {
      const ActorIndex actor = next.front();
      next.pop_front();
      for (const Edge& edge : edges_) {
        if (edge.to != actor) continue;
        tell(edge);
        if (met.insert(edge.from).second) next.push_back(edge.from);
      }
    }
    for (const Edge& edge : edges_) tell(edge);
    return out;
  }

  const Plan& plan_;
  std::span<const std::optional<Waiting>> actors_;
  std::vector<Edge> edges_;
};

}  // namespace

std::vector<ActorIndex> senders_of(const Plan& plan, ActorIndex receiver, const Key& key) {
  if (const auto role = role_of(key.topic)) {
    std::vector<ActorIndex> any, exact;
    for (const ChannelPlan& channel : plan.channels) {
      if (channel.to != receiver || channel.role != *role) continue;
      any.push_back(channel.from);
      if (carries(plan, channel, key)) exact.push_back(channel.from);
    }
    return exact.empty() ? any : exact;
  }
  switch (key.topic) {
    case Topic::kSquares:
    case Topic::kOwnerDone:
    case Topic::kSnapshot: return {key.part};
    case Topic::kUpdate: return {plan.reducer};
    case Topic::kReport: return {plan.sink};
    case Topic::kNextToken: return {plan.sink};
    case Topic::kWritten: return {plan.checkpointer};
    case Topic::kLoss:
    case Topic::kBalance:
    case Topic::kLogits: return stages_of(plan);
    default: return {};
  }
}

HangExplanation explain_hang(const Plan& plan, std::span<const std::optional<Waiting>> actors) {
  return Graph(plan, actors).explain();
}

std::string to_string(const HangExplanation& explanation) {
  constexpr std::size_t kLinesMax = 20;
  std::string out = explanation.cause;
  const std::size_t shown = std::min(explanation.waits.size(), kLinesMax);
  for (std::size_t i = 0; i < shown; ++i) out += "\n  " + explanation.waits[i];
  if (shown < explanation.waits.size())
    out += fmt::format("\n  and {} more", explanation.waits.size() - shown);
  return out;
}

}  // namespace sluice::actors
