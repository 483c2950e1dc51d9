"""An S3-compatible store on loopback (moto's server), for DVC remotes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
from moto.server import ThreadedMotoServer

# Of no account anywhere; the store takes any. Without the last one, a missing key is looked for on the network.
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}


@dataclass(frozen=True)
class Store:
    """A bucket: what `dvc remote add` and `dvc remote modify endpointurl` want to know."""

    endpoint: str
    url: str

    def keys(self) -> list[str]:
        """The names of all objects."""
        return [found["Key"] for found in self._client().list_objects_v2(Bucket=self._bucket).get("Contents", [])]

    def empty(self) -> None:
        """Lose all objects."""
        for key in self.keys():
            self._client().delete_object(Bucket=self._bucket, Key=key)

    @property
    def _bucket(self) -> str:
        return self.url.removeprefix("s3://").partition("/")[0]

    def _client(self):  # boto3 makes its classes as it runs
        access = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **access)


@contextmanager
def s3_store(bucket: str) -> Iterator[Store]:
    """An empty bucket, as long as the block lasts."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        store = Store("http://{}:{}".format(*server.get_host_and_port()), f"s3://{bucket}/artifacts")
        store._client().create_bucket(Bucket=bucket)
        yield store
    finally:
        server.stop()
