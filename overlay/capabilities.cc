#include "overlay/capabilities.h"

#include <fmt/format.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <optional>

#include "layers/base/error.h"
#include "layers/base/suggest.h"

namespace surcoat::overlay {
namespace {

// Docker's default set; podman's lacks MKNOD, NET_RAW and AUDIT_WRITE. notes: registry.md, section 6.
constexpr CapabilityMask kDefault =
    capability_bit(CAP_CHOWN) | capability_bit(CAP_DAC_OVERRIDE) | capability_bit(CAP_FSETID) |
    capability_bit(CAP_FOWNER) | capability_bit(CAP_NET_RAW) |
    capability_bit(CAP_SETGID) | capability_bit(CAP_SETUID) | capability_bit(CAP_SETFCAP) |
    capability_bit(CAP_SETPCAP) | capability_bit(CAP_NET_BIND_SERVICE) | capability_bit(CAP_SYS_CHROOT) |
    capability_bit(CAP_KILL) | capability_bit(CAP_AUDIT_WRITE);

// "CAP_X" in capitals, from any of the spellings that people use.
std::string canonical(const std::string& name) {
    std::string text = name;
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return text.rfind("CAP_", 0) == 0 ? text : "CAP_" + text;
}

struct Wanted {
    bool all = false;
    CapabilityMask mask = 0;
};

Wanted parse(const std::vector<std::string>& names) {
    Wanted wanted;
    for (const auto& name : names) {
        const std::string full = canonical(name);
        if (full == "CAP_ALL") {
            wanted.all = true;
            continue;
        }
        cap_value_t value = 0;
        if (::cap_from_name(full.c_str(), &value) != 0 || value < 0 || value > 63) {
            throw Error(Errc::invalid, fmt::format("unknown capability '{}'{}", name,
                                                   did_you_mean(full, capability_names(~CapabilityMask{0}))))
                .hint("`man 7 capabilities` lists them; ALL means every one");
        }
        wanted.mask |= capability_bit(static_cast<unsigned>(value));
    }
    return wanted;
}

}  // namespace

CapabilityMask available_capabilities() {
    std::unique_ptr<std::remove_pointer_t<cap_t>, int (*)(void*)> held(::cap_get_proc(), ::cap_free);
    CapabilityMask mask = 0;
    for (unsigned number = 0; number < 64; ++number) {
        const auto value = static_cast<cap_value_t>(number);
        if (::prctl(PR_CAPBSET_READ, number, 0, 0, 0) != 1) continue;
        cap_flag_value_t permitted = CAP_SET;
        if (held && ::cap_get_flag(held.get(), value, CAP_PERMITTED, &permitted) != 0) continue;
        if (permitted == CAP_SET) mask |= capability_bit(number);
    }
    return mask;
}

CapabilityMask container_capabilities(const std::vector<std::string>& add,
                                      const std::vector<std::string>& drop) {
    const Wanted added = parse(add);
    const Wanted dropped = parse(drop);
    CapabilityMask mask = kDefault;
    if (added.all) mask = ~CapabilityMask{0};
    if (dropped.all) mask = added.all ? mask : 0;
    mask |= added.mask;
    // What is named beats ALL; of two names the drop wins, as in docker.
    mask &= ~dropped.mask;
    return mask & available_capabilities();
}

std::vector<std::string> capability_names(CapabilityMask mask) {
    std::vector<std::string> names;
    for (unsigned number = 0; number < 64; ++number) {
        if ((mask & capability_bit(number)) == 0) continue;
        std::unique_ptr<char, int (*)(void*)> name(::cap_to_name(static_cast<cap_value_t>(number)),
                                                   ::cap_free);
        // libcap prints plain numbers for those it does not know.
        if (!name || std::isdigit(static_cast<unsigned char>(*name)) != 0) continue;
        names.push_back(canonical(name.get()));
    }
    return names;
}

}  // namespace surcoat::overlay
