#!/bin/sh
# `make image`: builds $IMAGE on $BASE and takes the SBOM out of what was built. Arguments go to the build command.
set -eu

builder=
for one in buildah podman docker; do
    if command -v "$one" >/dev/null; then builder=$one; break; fi
done
if [ -z "$builder" ]; then
    echo "make image: it takes buildah, podman or docker, and none of them is on PATH" >&2
    exit 1
fi

case $BASE in
*@sha256:*) set -- --label "org.opencontainers.image.base.digest=${BASE#*@}" "$@" ;;
localhost/*) ;;
*) echo "make image: BASE=$BASE may be another image tomorrow; name it by digest: $BASE@sha256:..." >&2 ;;
esac

epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
case $builder in
buildah) set -- --layers --timestamp "$epoch" "$@" ;;
podman) set -- --timestamp "$epoch" "$@" ;;
docker) set -- --build-arg SOURCE_DATE_EPOCH="$epoch" "$@" ;;
esac
"$builder" build "$@" --file Containerfile --tag "$IMAGE" \
    --build-arg BASE="$BASE" \
    --build-arg VERSION="$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)" \
    --build-arg REVISION="${REVISION:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}" .

sbom=/opt/pullsecret/sbom.cdx.json
mkdir -p dist
if [ "$builder" = buildah ]; then
    container=$(buildah from --pull-never "$IMAGE")
    buildah run "$container" -- cat "$sbom" > dist/sbom.cdx.json
    buildah rm "$container" > /dev/null
else
    "$builder" run --rm --entrypoint cat "$IMAGE" "$sbom" > dist/sbom.cdx.json
fi
echo "image: $IMAGE"
echo "SBOM:  dist/sbom.cdx.json (CycloneDX; in the image it is $sbom)"
