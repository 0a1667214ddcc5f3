#include "layers/build/step_key.h"

namespace surcoat::build {

StepKey::StepKey(const char* instruction, std::span<const DiffId> parent) {
    parts_.set("version", 1);
    parts_.set("instruction", instruction);
    Json layers = Json::array();
    for (const DiffId& layer : parent) layers.push_back(layer.str());
    parts_.set("parent", std::move(layers));
}

StepKey& StepKey::part(std::string_view name, Json value) {
    parts_.set(name, std::move(value));
    return *this;
}

std::string StepKey::hex() const {
    return to_hex(sha256(as_bytes(parts_.dump())));
}

}  // namespace surcoat::build
