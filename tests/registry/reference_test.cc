#include "registry/reference.h"

#include <catch2/catch.hpp>

#include "layers/base/error.h"
#include "tests/registry/layouts.h"

using namespace surcoat;
using namespace surcoat::registry;

namespace {
const std::string kHex(64, 'a');
const std::string kDigest = "sha256:" + kHex;
}  // namespace

TEST_CASE("names are read and normalised as docker does", "[registry][reference]") {
    struct Row {
        std::string text, domain, path, tag, digest, full, familiar;
    };
    const Row rows[] = {
        {"shop", "docker.io", "library/shop", "", "", "docker.io/library/shop", "shop"},
        {"shop:1", "docker.io", "library/shop", "1", "", "docker.io/library/shop:1", "shop:1"},
        {"team/shop", "docker.io", "team/shop", "", "", "docker.io/team/shop", "team/shop"},
        {"docker.io/shop", "docker.io", "library/shop", "", "", "docker.io/library/shop", "shop"},
        {"index.docker.io/shop:v", "docker.io", "library/shop", "v", "", "docker.io/library/shop:v",
         "shop:v"},
        {"docker.io/library/shop", "docker.io", "library/shop", "", "", "docker.io/library/shop", "shop"},
        {"library/shop", "docker.io", "library/shop", "", "", "docker.io/library/shop", "shop"},
        {"library/a/b", "docker.io", "library/a/b", "", "", "docker.io/library/a/b", "library/a/b"},
        {"localhost/x", "localhost", "x", "", "", "localhost/x", "localhost/x"},
        {"localhost:5000/x:2", "localhost:5000", "x", "2", "", "localhost:5000/x:2", "localhost:5000/x:2"},
        {"localhost:5000", "docker.io", "library/localhost", "5000", "", "docker.io/library/localhost:5000",
         "localhost:5000"},
        {"ghcr.io/a/b-c_d/e__f/g--h:T_1.2-3", "ghcr.io", "a/b-c_d/e__f/g--h", "T_1.2-3", "",
         "ghcr.io/a/b-c_d/e__f/g--h:T_1.2-3", "ghcr.io/a/b-c_d/e__f/g--h:T_1.2-3"},
        {"Registry/x", "Registry", "x", "", "", "Registry/x", "Registry/x"},
        {"[::1]:5000/x", "[::1]:5000", "x", "", "", "[::1]:5000/x", "[::1]:5000/x"},
        {"[fd00::a]/x:1", "[fd00::a]", "x", "1", "", "[fd00::a]/x:1", "[fd00::a]/x:1"},
        {"xn--n3h.example/x", "xn--n3h.example", "x", "", "", "xn--n3h.example/x", "xn--n3h.example/x"},
        {"shop@" + kDigest, "docker.io", "library/shop", "", kDigest, "docker.io/library/shop@" + kDigest,
         "shop@" + kDigest},
        {"shop:1@" + kDigest, "docker.io", "library/shop", "1", kDigest,
         "docker.io/library/shop:1@" + kDigest, "shop:1@" + kDigest},
        {"docker.io/my.host/x", "docker.io", "my.host/x", "", "", "docker.io/my.host/x",
         "docker.io/my.host/x"},
        {"a", "docker.io", "library/a", "", "", "docker.io/library/a", "a"},
        {"docker.io/" + kHex, "docker.io", "library/" + kHex, "", "", "docker.io/library/" + kHex,
         "docker.io/library/" + kHex},
        {"0/0:_", "docker.io", "0/0", "_", "", "docker.io/0/0:_", "0/0:_"},
    };
    for (const Row& row : rows) {
        INFO(row.text);
        const Reference reference = Reference::parse(row.text);
        CHECK(reference.domain == row.domain);
        CHECK(reference.path == row.path);
        CHECK(reference.tag == row.tag);
        CHECK((reference.digest ? reference.digest->str() : "") == row.digest);
        CHECK(reference.full() == row.full);
        CHECK(reference.familiar() == row.familiar);
        CHECK(Reference::parse(reference.full()) == reference);
        CHECK(Reference::parse(reference.familiar()) == reference);
    }
}

TEST_CASE("what is no image name is refused with the part that is wrong", "[registry][reference]") {
    const std::pair<std::string, std::string> rows[] = {
        {"", "it is empty"},
        {kHex, "64 hex digits are an image's ID"},
        {"Shop:1", "the repository 'Shop' must be lower case\ntry 'shop:1'"},
        {"team/Shop", "must be lower case"},
        {"-shop", "must begin and end with a letter or digit"},
        {"shop-", "must begin and end"},
        {"a..b", "'..' in the path part 'a..b' is no separator"},
        {"a___b", "'___' in the path part"},
        {"a.-b", "'.-' in the path part"},
        {"a//b", "a part of the path is empty"},
        {"a/", "a part of the path is empty"},
        {"/a", "a part of the path is empty"},
        {"shop 1", "a space must not stand in the path part"},
        {"sh\xc3\xb6p", "byte 0xc3 must not stand"},
        {"shop:", "there is nothing after the ':'"},
        {"shop:-1", "the tag '-1' must begin with"},
        {"shop:a/b", "'a' is not a port number"},  // what has a ':' before the first '/' is a registry
        {"shop:" + std::string(129, 'x'), "the tag has 129 characters, at most 128"},
        {"shop:a:b", "':' must not stand in the tag"},
        {":1", "there is no name before the tag"},
        {"shop@sha256:abc", "expected 64 hex digits, found 3"},
        {"shop@md5:" + std::string(32, 'a'), "the algorithm 'md5' is not sha256 or sha512"},
        {"shop@", "is not a digest"},
        {"shop@sha256:" + std::string(64, 'A'), "lower-case hex"},
        {"http://localhost/x", "it is a URL\nleave out 'http://'"},
        {"my_host.io/x", "'my_host' is not a host name's label"},
        {"-a.io/x", "is not a host name's label"},
        {"a..io/x", "has an empty label"},
        {"host:port/x", "'port' is not a port number"},
        {"[::1/x", "has no ']'"},
        {"[zz]:1/x", "'zz' is not an IPv6 address"},
        {std::string(120, 'a') + "/" + std::string(120, 'b') + "/" + std::string(20, 'c'), "at most 255"},
    };
    for (const auto& [text, part] : rows) {
        INFO(text);
        const std::string message = test::error_of([text = text] { Reference::parse(text); });
        CHECK_THAT(message, Catch::Contains(part));
    }
}

TEST_CASE("a name without tag and digest means latest", "[registry][reference]") {
    CHECK(Reference::parse("shop").with_default_tag().full() == "docker.io/library/shop:latest");
    CHECK(Reference::parse("shop:2").with_default_tag().full() == "docker.io/library/shop:2");
    CHECK(Reference::parse("shop@" + kDigest).with_default_tag().tag.empty());
    CHECK(Reference::parse("quay.io/a/shop:2").familiar_repository() == "quay.io/a/shop");
}
