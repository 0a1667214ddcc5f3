#include <fmt/format.h>
#include <sys/utsname.h>

#include "cmd/output.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/base/hash.h"
#include "layers/compression.h"
#include "layers/store/catalogue.h"
#include "overlay/namespaces.h"

namespace surcoat::cmd {

Verb version_verb() {
    auto format = std::make_shared<std::string>("table");
    Verb verb;
    verb.name = "version";
    verb.group = "System";
    verb.synopsis = "version";
    verb.summary = "version, backends and libraries";
    verb.declare = [format](Options& options) { options.choice("--format", *format, {"table", "json"}, "how to print"); };
    verb.run = [format](Program&) {
        utsname host{};
        ::uname(&host);
        const char* privilege = "";
        const char* backends = "";
        switch (overlay::current_privilege()) {
            case overlay::Privilege::root: privilege = "root"; backends = "kernel overlay (EROFS metadata), library"; break;
            case overlay::Privilege::user_namespace: privilege = "root of a user namespace"; backends = "kernel overlay (directory metadata), library"; break;
            case overlay::Privilege::none: privilege = "a plain user"; backends = "kernel overlay (in a user namespace of our own), library"; break;
        }
        std::vector<std::pair<std::string, std::string>> libraries = compression_library_versions();
        libraries.emplace_back("openssl", crypto_library_version());
        libraries.emplace_back("sqlite", database_library_version());
        libraries.emplace_back("fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100));
        if (*format == "json") {
            Json json = Json::object();
            json.set("schema", "surcoat.version/1").set("version", SURCOAT_VERSION).set("kernel", host.release).set("machine", host.machine);
            json.set("running_as", privilege).set("backends", backends);
            Json list = Json::object();
            for (const auto& [name, version] : libraries) list.set(name, version);
            json.set("libraries", std::move(list));
            print(json.dump(2) + "\n");
            return 0;
        }
        print(fmt::format("surcoat {}\n", SURCOAT_VERSION));
        print(fmt::format("backends:  {}\n", backends));
        print(fmt::format("running:   as {} on Linux {} {}\n", privilege, host.release, host.machine));
        std::string text;
        for (const auto& [name, version] : libraries) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, version);
        print(fmt::format("libraries: {}\n", text));
        return 0;
    };
    return verb;
}

}  // namespace surcoat::cmd
