// The header as JSON.
#include "runtime/trace/recording.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "kernels/base/digest.hpp"
#include "runtime/store/json_file.hpp"

namespace sluice::trace {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 3> kPayloadNames{"none", "boundary", "all"};
const std::string kOutsideName = "outside";

json actors_to_json(const Recording& r) {
  json out = json::array();
  for (const graph::ActorPlan& actor : r.actors)
    out.push_back({{"name", actor.name}, {"kind", actor.kind}, {"rank", actor.rank}});
  return out;
}

json channels_to_json(const Recording& r) {
  json out = json::array();
  for (const graph::ChannelPlan& c : r.channels) {
    out.push_back({{"actor", c.actor},
                   {"from", c.from},
                   {"to", c.to},
                   {"role", c.role},
                   {"credits", c.credits},
                   {"message_bytes", c.message_bytes}});
  }
  return out;
}

Recording from_json(const json& j) {
  Recording r;
  j.at("program").get_to(r.program);
  j.at("started").get_to(r.started);
  j.at("virtual_time").get_to(r.virtual_time);
  r.has_values = j.value("has_values", true);
  j.at("ranks_share_lanes").get_to(r.ranks_share_lanes);
  j.at("payloads").get_to(r.payloads);
  j.at("config").get_to(r.config);
  j.at("model_config").get_to(r.model_config);
  j.at("recipe").get_to(r.recipe);
  j.at("kernel_set").get_to(r.kernel_set);
  j.at("cpu").get_to(r.cpu);
  j.at("seed").get_to(r.seed);
  j.at("checkpoint").get_to(r.checkpoint);
  j.at("first_step").get_to(r.first_step);
  j.at("evaluate_every").get_to(r.evaluate_every);
  j.at("evaluate_micro_batches").get_to(r.evaluate_micro_batches);
  j.at("checkpoint_every").get_to(r.checkpoint_every);
  j.at("checkpoint_at_end").get_to(r.checkpoint_at_end);
  j.at("plan_digest").get_to(r.plan_digest);
  for (const json& a : j.at("actors"))
    r.actors.push_back({a.at("kind").get<graph::ActorKind>(), a.at("name"), a.at("rank")});
  for (const json& c : j.at("channels")) {
    r.channels.push_back({c.at("actor"), c.at("from"), c.at("to"),
                          c.at("role").get<graph::ChannelRole>(), c.at("credits"),
                          c.at("message_bytes")});
  }
  return r;
}

}  // namespace

std::string_view name_of(Payloads payloads) {
  return kPayloadNames.at(static_cast<std::size_t>(payloads));
}

Result<Payloads> payloads_from_name(std::string_view name) {
  const auto found = std::find(kPayloadNames.begin(), kPayloadNames.end(), name);
  if (found == kPayloadNames.end())
    return invalid_input("payloads {}: one of {}", name, fmt::join(kPayloadNames, ", "));
  return static_cast<Payloads>(found - kPayloadNames.begin());
}

const std::string& Recording::name(graph::ActorIndex actor) const {
  if (actor < 0 || actor >= static_cast<graph::ActorIndex>(actors.size())) return kOutsideName;
  return actors[static_cast<std::size_t>(actor)].name;
}

Result<graph::ActorIndex> Recording::find(std::string_view name) const {
  std::string names;
  for (std::size_t i = 0; i < actors.size(); ++i) {
    if (actors[i].name == name) return static_cast<graph::ActorIndex>(i);
    if (actors[i].kind != graph::ActorKind::kChannel)
      names += (names.empty() ? "" : ", ") + actors[i].name;
  }
  return invalid_input("the recording has no actor \"{}\"; it has {}, and channels", name, names);
}

void set_plan(Recording& recording, const graph::Plan& plan) {
  recording.actors = plan.actors;
  recording.channels = plan.channels;
  recording.plan_digest = digest(graph::to_string(plan));
}

std::string to_json(const Recording& r) {
  const json out = {{"program", r.program},
                    {"started", r.started},
                    {"virtual_time", r.virtual_time},
                    {"has_values", r.has_values},
                    {"ranks_share_lanes", r.ranks_share_lanes},
                    {"payloads", r.payloads},
                    {"config", r.config},
                    {"model_config", r.model_config},
                    {"recipe", r.recipe},
                    {"kernel_set", r.kernel_set},
                    {"cpu", r.cpu},
                    {"seed", r.seed},
                    {"checkpoint", r.checkpoint},
                    {"first_step", r.first_step},
                    {"evaluate_every", r.evaluate_every},
                    {"evaluate_micro_batches", r.evaluate_micro_batches},
                    {"checkpoint_every", r.checkpoint_every},
                    {"checkpoint_at_end", r.checkpoint_at_end},
                    {"plan_digest", r.plan_digest},
                    {"actors", actors_to_json(r)},
                    {"channels", channels_to_json(r)}};
  return store::to_text(out);
}

Result<Recording> read_recording(LogReader& log) {
  log.rewind();
  SLUICE_ASSIGN(const auto record, log.next());
  if (!record || record->kind != RecordKind::kHeader) {
    return failed("{} ends before its header was written: there is nothing to read",
                  log.path().string());
  }
  const std::string_view text(reinterpret_cast<const char*>(record->content.data()),
                              record->content.size());
  SLUICE_ASSIGN(const json header, store::parse_json(text, log.path().string()));
  try {
    return from_json(header);
  } catch (const json::exception& exception) {
    return failed("{}: a header that this program does not understand: {}", log.path().string(),
                  exception.what());
  }
}

}  // namespace sluice::trace
