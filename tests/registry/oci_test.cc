#include "registry/oci.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "layers/base/error.h"
#include "tests/registry/layouts.h"

using namespace surcoat;
using namespace surcoat::registry;
using Catch::Contains;
using test::error_of;

namespace {

const std::string kDigest = "sha256:" + std::string(64, '1');

std::string descriptor(const std::string& type, const std::string& size = "7",
                       const std::string& digest = kDigest, const std::string& more = {}) {
    return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":{}{}}})", type, digest, size, more);
}
const std::string kConfigDescriptor = descriptor(media_type::kConfig);
const std::string kLayerDescriptor = descriptor(media_type::kLayerGzip);

std::string manifest(const std::string& members) {
    return "{" + members + "}";
}
std::string good_manifest() {
    return fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}})",
                       media_type::kManifest, kConfigDescriptor, kLayerDescriptor);
}

std::string config_text(const std::string& more = {}) {
    return R"({"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[")" + kDigest +
           R"("]})" + more + "}";
}

}  // namespace

TEST_CASE("a manifest is written as it is read", "[registry][oci]") {
    const Manifest parsed = Manifest::parse(good_manifest(), "it");
    CHECK(parsed.layers.size() == 1);
    CHECK(parsed.config.digest.str() == kDigest);
    CHECK(parsed.to_json() == good_manifest());
}

TEST_CASE("hostile and broken manifests are refused with the member that is wrong", "[registry][oci]") {
    const std::string head = R"("schemaVersion":2,"config":)" + kConfigDescriptor + R"(,"layers":[)";
    const auto with_layer = [&](const std::string& layer) { return manifest(head + layer + "]"); };
    const std::string layer_type = media_type::kLayerGzip;
    const std::pair<std::string, std::string> rows[] = {
        {"", "it is not valid JSON"},
        {"[]", "found an array"},
        {good_manifest() + "x", "not valid JSON at byte"},
        {"\xEF\xBB\xBF" + good_manifest(), "byte order mark"},
        {manifest(R"("config":)" + kConfigDescriptor + R"(,"layers":[])"), "'schemaVersion' is missing"},
        {manifest(R"("schemaVersion":1,"config":)" + kConfigDescriptor + R"(,"layers":[])"),
         "schemaVersion is 1, expected 2"},
        {manifest(R"("schemaVersion":2.0,"config":)" + kConfigDescriptor + R"(,"layers":[])"),
         "schemaVersion is 2.0, expected 2"},
        {manifest(R"("schemaVersion":"2","config":)" + kConfigDescriptor + R"(,"layers":[])"),
         "schemaVersion is \"2\""},
        {manifest(R"("schemaVersion":2,"layers":[])"), "'config'"},
        {manifest(R"("schemaVersion":2,"config":)" + kConfigDescriptor), "member 'layers' is missing"},
        {manifest(R"("schemaVersion":2,"config":)" + kConfigDescriptor + R"(,"layers":null)"),
         "member 'layers' is missing"},
        {manifest(R"("schemaVersion":2,"config":)" + kConfigDescriptor + R"(,"layers":{})"),
         "expected an array, found an object"},
        {manifest(head + R"(],"manifests":[])"), "which makes it an index too"},
        {manifest(head + R"(],"Manifests":[])"), "member 'Manifests' must be spelled 'manifests'"},
        {manifest(head + R"(],"mediaType":")" + media_type::kIndex + "\""), "which is no image manifest's"},
        {manifest(head + R"(],"mediaType":"text/plain")"), "which is no image manifest's"},
        {manifest(head + R"(],"layers":[])"), "\"layers\" twice"},
        {manifest(head + R"(],"Layers":[])"), "member 'Layers' must be spelled 'layers'"},
        {manifest(head + R"(],"annotations":{"a":1})"), "member 'annotations'"},
        {with_layer("{}"), "entry 0"},
        {with_layer("7"), "found an integer"},
        {with_layer(descriptor(layer_type, "-1")), "expected a size, found -1"},
        {with_layer(descriptor(layer_type, "1.5")), "found a number"},
        {with_layer(descriptor(layer_type, "7.0")), "found a number"},
        {with_layer(descriptor(layer_type, "9223372036854775808")), "found a number"},
        {with_layer(descriptor(layer_type, "1e3")), "found a number"},
        {with_layer(descriptor(layer_type, "\"7\"")), "expected an integer, found a string"},
        {with_layer(descriptor(layer_type, "null")), "a descriptor has no member 'size'"},
        {with_layer(descriptor(layer_type, "7", "sha256:../../etc/passwd")), "is not a digest"},
        {with_layer(descriptor(layer_type, "7", "sha256:" + std::string(64, 'A'))), "lower-case hex"},
        {with_layer(descriptor(layer_type, "7", "md5:" + std::string(32, 'a'))), "the algorithm 'md5'"},
        {with_layer(descriptor(layer_type, "7", "sha256:" + std::string(63, 'a'))),
         "expected 64 hex digits, found 63"},
        {with_layer(descriptor("gzip")), "is not a media type"},
        {with_layer(descriptor("")), "is not a media type"},
        {with_layer(descriptor("a/b c")), "is not a media type"},
        {with_layer(descriptor(layer_type, "7", kDigest, R"(,"Digest":"x")")),
         "'Digest' must be spelled 'digest'"},
        {with_layer(descriptor(layer_type, "7", kDigest, R"(,"data":"e30=")")), "does not have the size 7"},
        {with_layer(descriptor(layer_type, "2", kDigest, R"(,"data":"e30=")")), "and the digest"},
        {with_layer(descriptor(layer_type, "2", kDigest, R"(,"data":"e3")")), "is not base64"},
        {with_layer(descriptor(layer_type, "2", kDigest, R"(,"annotations":[])")),
         "expected an object, found an array"},
        {manifest(R"("schemaVersion":2,"layers":[],"config":)" + descriptor(media_type::kEmpty)),
         "must have an 'artifactType'"},
    };
    for (const auto& [text, part] : rows) {
        INFO(text);
        CHECK_THAT(error_of([text = text] { Manifest::parse(text, "it"); }), Contains(part));
    }
}

TEST_CASE("embedded data is checked, unknown members are not", "[registry][oci]") {
    const std::string empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    const std::string text =
        R"({"schemaVersion":2,"artifactType":"a/b","x":[1],"subject":null,"layers":[],"config":)" +
        descriptor(media_type::kEmpty, "2", empty, R"(,"data":"e30=","y":{"z":1})") + "}";
    CHECK(Manifest::parse(text, "it").config.digest.str() == empty);
}

TEST_CASE("hostile and broken indexes are refused", "[registry][oci]") {
    const std::string entry = descriptor(media_type::kManifest);
    const std::pair<std::string, std::string> rows[] = {
        {R"({"schemaVersion":2})", "member 'manifests' is missing"},
        {R"({"manifests":[]})", "'schemaVersion' is missing"},
        {R"({"schemaVersion":2,"manifests":[],"layers":[]})", "which makes it a manifest too"},
        {R"({"schemaVersion":2,"manifests":[],"config":{}})", "which makes it a manifest too"},
        {R"({"schemaVersion":2,"manifests":[],"mediaType":"application/vnd.oci.image.manifest.v1+json"})",
         "which is no index's"},
        {R"({"schemaVersion":2,"manifests":[{"mediaType":"a/b"}]})", "a descriptor has no member 'digest'"},
        {R"({"schemaVersion":2,"manifests":[)" +
             descriptor(media_type::kManifest, "1", kDigest, R"(,"platform":{"os":"linux"})") + "]}",
         "a platform needs 'architecture' and 'os'"},
        {R"({"schemaVersion":2,"manifests":[)" +
             descriptor(media_type::kManifest, "1", kDigest, R"(,"platform":7)") + "]}",
         "member 'platform'"},
    };
    for (const auto& [text, part] : rows) {
        INFO(text);
        CHECK_THAT(error_of([text = text] { Index::parse(text, "it"); }), Contains(part));
    }
    CHECK(Index::parse(R"({"schemaVersion":2,"manifests":[]})", "it").manifests.empty());
    Index index;
    index.manifests.push_back({.media_type = media_type::kManifest,
                               .digest = Digest::parse(kDigest),
                               .size = 7,
                               .platform = Platform{.os = "linux", .architecture = "arm", .variant = "v7"},
                               .annotations = {{"b", "2"}, {"a", "1"}}});
    CHECK(
        index.to_json() ==
        R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[)" +
            descriptor(
                media_type::kManifest, "7", kDigest,
                R"(,"annotations":{"a":"1","b":"2"},"platform":{"architecture":"arm","os":"linux","variant":"v7"})") +
            "]}");
    CHECK(Index::parse(index.to_json(), "it").manifests == index.manifests);
}

TEST_CASE("the platform that suits best is chosen", "[registry][oci][platform]") {
    struct Row {
        std::string wanted;
        std::vector<std::string> offered;
        int chosen;  // -1: none
    };
    const auto platform = [](const std::string& text) {
        std::vector<std::string> parts{""};
        for (const char c : text) {
            if (c == '/')
                parts.emplace_back();
            else
                parts.back() += c;
        }
        parts.resize(3);
        return Platform{.os = parts[0], .architecture = parts[1], .variant = parts[2]};
    };
    const Row rows[] = {
        {"linux/amd64", {"linux/arm64", "linux/amd64"}, 1},
        {"linux/amd64", {"linux/arm64", "windows/amd64"}, -1},
        {"linux/amd64", {"linux/amd64", "linux/amd64"}, 0},  // the first of equals
        {"linux/amd64", {"linux/386", "linux/x86_64"}, 1},
        {"linux/amd64", {"linux/386"}, 0},
        {"linux/amd64", {"linux/amd64/v2", "linux/amd64/v1"}, 1},
        {"linux/amd64/v3", {"linux/amd64", "linux/amd64/v2", "linux/amd64/v4"}, 1},
        {"linux/amd64", {"linux/amd64/v3"}, -1},
        {"linux/arm64", {"linux/arm/v7", "linux/aarch64/v8"}, 1},
        {"linux/arm64", {"linux/arm/v6", "linux/arm/v7"}, 1},
        {"linux/arm64/v8.2", {"linux/arm64", "linux/arm64/v8.1", "linux/arm64/v8.3"}, 1},
        {"linux/arm64/v9.1", {"linux/arm64", "linux/arm64/v8.6", "linux/arm64/v9"}, 2},
        {"linux/arm/v7", {"linux/arm/v5", "linux/arm/v6", "linux/arm/v8"}, 1},
        {"linux/arm", {"linux/armhf", "linux/armel"}, 0},
        {"linux/riscv64", {"unknown/unknown", "linux/riscv64"}, 1},
        {"linux/s390x", {"", "linux/amd64"}, 0},  // without a platform: suits, if nothing does better
        {"linux/s390x", {"", "linux/s390x"}, 1},
        {"darwin/arm64", {"macos/arm64"}, 0},
    };
    for (const Row& row : rows) {
        INFO(row.wanted);
        Index index;
        for (std::size_t i = 0; i < row.offered.size(); ++i) {
            Descriptor entry{
                .media_type = media_type::kManifest, .digest = Digest::parse(kDigest), .size = i};
            if (!row.offered[i].empty()) entry.platform = platform(row.offered[i]);
            index.manifests.push_back(entry);
        }
        const auto chosen = select_platform(index, platform(row.wanted));
        CHECK((chosen ? static_cast<int>(chosen->size) : -1) == row.chosen);
    }
}

TEST_CASE("attestations beside a platform are never chosen", "[registry][oci][platform]") {
    Index index;
    index.manifests.push_back({.media_type = media_type::kManifest,
                               .digest = Digest::parse(kDigest),
                               .size = 1,
                               .platform = Platform{.os = "linux", .architecture = "amd64", .variant = {}},
                               .annotations = {{annotation::kDockerReferenceType, "attestation-manifest"}}});
    CHECK_FALSE(select_platform(index, Platform{.os = "linux", .architecture = "amd64", .variant = {}}));
}

TEST_CASE("a configuration keeps all that an image says", "[registry][oci][config]") {
    Image image;
    image.platform = {.os = "linux", .architecture = "arm", .variant = "v7"};
    image.created = "2026-11-22T17:00:00.5Z";
    image.author = "somebody <x@y>";
    image.config = {
        .user = "app:app",
        .exposed_ports = {"443/tcp", "80/tcp"},
        .env = {"PATH=/bin", "B=", "A=\"quoted\" \xc3\xa9"},
        .entrypoint = std::vector<std::string>{"/init"},
        .cmd = std::vector<std::string>{},
        .volumes = {"/a", "/b"},
        .working_dir = "/srv",
        .labels = {{"b", "2"}, {"a", "1"}},
        .stop_signal = "SIGINT",
        .healthcheck =
            Healthcheck{.test = {"CMD-SHELL", "true"}, .interval_ns = 30'000'000'000, .retries = 3},
        .shell = std::vector<std::string>{"/bin/sh", "-ec"},
        .on_build = {"RUN x"}};
    image.layers = {DiffId{Digest::parse(kDigest)}};
    image.history = {{.created = "2026-11-22T17:00:00Z", .created_by = "COPY", .author = "a", .comment = "c"},
                     {.created_by = "ENV", .empty_layer = true}};
    const std::string text = write_config(image);
    CHECK(parse_config(text, "it") == image);
    CHECK(
        text ==
        R"({"created":"2026-11-22T17:00:00.5Z","author":"somebody <x@y>","architecture":"arm","os":"linux","variant":"v7",)"
        R"("config":{"User":"app:app","ExposedPorts":{"443/tcp":{},"80/tcp":{}},"Env":["PATH=/bin","B=","A=\"quoted\" é"],)"
        R"("Entrypoint":["/init"],"Cmd":[],"Volumes":{"/a":{},"/b":{}},"WorkingDir":"/srv","Labels":{"a":"1","b":"2"},)"
        R"("StopSignal":"SIGINT","Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":30000000000,"Retries":3},)"
        R"("OnBuild":["RUN x"],"Shell":["/bin/sh","-ec"]},"rootfs":{"type":"layers","diff_ids":[")" +
            kDigest +
            R"("]},"history":[{"created":"2026-11-22T17:00:00Z","created_by":"COPY","author":"a","comment":"c"},)"
            R"({"created_by":"ENV","empty_layer":true}]})");
}

TEST_CASE("docker's configurations are read", "[registry][oci][config]") {
    const Image image = parse_config(
        R"({"architecture":"amd64","os":"linux","config":{"Hostname":"","AttachStdin":false,"Env":null,"Cmd":["sh"],"Image":"x",)"
        R"("Volumes":null,"Labels":null,"OnBuild":null,"ArgsEscaped":true},"container":"1","container_config":{"Cmd":["y"]},)"
        R"("created":"2024-01-02T03:04:05.123456789Z","docker_version":"20.10","id":"z","rootfs":{"type":"layers","diff_ids":[]},)"
        R"("history":[]})",
        "it");
    CHECK(image.config.cmd == std::vector<std::string>{"sh"});
    CHECK_FALSE(image.config.entrypoint);
    CHECK(image.config.env.empty());
    CHECK(image.layers.empty());
}

TEST_CASE("hostile and broken configurations are refused", "[registry][oci][config]") {
    const std::string head = R"({"architecture":"amd64","os":"linux",)";
    const std::pair<std::string, std::string> rows[] = {
        {"7", "found an integer"},
        {R"({"os":"linux","rootfs":{"type":"layers","diff_ids":[]}})", "member 'architecture' is missing"},
        {R"({"architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}})", "member 'os' is missing"},
        {R"({"architecture":"amd64","os":"linux"})", "member 'rootfs'"},
        {head + R"("rootfs":{"type":"windows","diff_ids":[]}})",
         "its type is \"windows\", expected \"layers\""},
        {head + R"("rootfs":{"diff_ids":[]}})", "its type is \"\", expected \"layers\""},
        {head + R"("rootfs":{"type":"layers","diff_ids":[7]}})", "expected a string, found an integer"},
        {head + R"("rootfs":{"type":"layers","diff_ids":["sha256:x"]}})", "is not a digest"},
        {head + R"("rootfs":{"type":"layers","diff_ids":[]},"rootfs":{"type":"layers","diff_ids":[]}})",
         "twice"},
        {head + R"("rootfs":{"type":"layers","diff_ids":[]},"Rootfs":{}})",
         "'Rootfs' must be spelled 'rootfs'"},
        {config_text(R"(,"created":"yesterday")"), "expected an RFC 3339 time"},
        {config_text(R"(,"created":7)"), "member 'created'"},
        {config_text(R"(,"history":[{"empty_layer":true}])"),
         "it has 0 entries with a layer, but there are 1 diff_ids"},
        {config_text(R"(,"history":[{},{}])"), "it has 2 entries with a layer"},
        {config_text(R"(,"history":{})"), "expected an array"},
        {config_text(R"(,"config":{"Env":["A=1",2]})"), "member 'Env'"},
        {config_text(R"(,"config":{"Cmd":"sh"})"), "member 'Cmd'"},
        {config_text(R"(,"config":{"cmd":["sh"]})"), "'cmd' must be spelled 'Cmd'"},
        {config_text(R"(,"config":{"ExposedPorts":["80"]})"), "member 'ExposedPorts'"},
        {config_text(R"(,"config":{"ExposedPorts":{"80/tcp":1}})"), "member 'ExposedPorts'"},
        {config_text(R"(,"config":{"Labels":{"a":1}})"), "member 'Labels'"},
        {config_text(R"(,"config":{"Labels":{"a":"1","a":"2"}})"), "twice"},
        {config_text(R"(,"config":{"Healthcheck":{"Retries":-1}})"), "Retries is -1"},
    };
    for (const auto& [text, part] : rows) {
        INFO(text);
        CHECK_THAT(error_of([text = text] { parse_config(text, "it"); }), Contains(part));
    }
    // Labels are names of the user's: two that differ in case are two.
    CHECK(parse_config(config_text(R"(,"config":{"Labels":{"a":"1","A":"2"}})"), "it").config.labels.size() ==
          2);
}

TEST_CASE("layer media types of OCI and docker say their compression", "[registry][oci]") {
    CHECK(layer_compression(media_type::kLayerZstd) == Compression::zstd);
    CHECK(layer_compression(media_type::kDockerLayerGzip) == Compression::gzip);
    CHECK(layer_compression("application/vnd.oci.image.layer.nondistributable.v1.tar") == Compression::none);
    CHECK_FALSE(layer_compression("application/vnd.cncf.helm.chart.content.v1.tar+gzip"));
    for (const Compression c : {Compression::none, Compression::gzip, Compression::zstd})
        CHECK(layer_compression(layer_media_type(c)) == c);
    CHECK_THAT(error_of([] { layer_media_type(Compression::xz); }), Contains("OCI knows gzip and zstd only"));
}
