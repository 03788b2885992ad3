"""A bucket of an S3 server for processes that tests start."""

from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config


@dataclass(frozen=True)
class Bucket:
    url: str  # of the server
    name: str
    access_key: str = "test"
    secret_key: str = "test"

    @property
    def storage_url(self) -> str:
        """For TRAINHUB_ARTIFACTS_URL."""
        return f"s3://{self.name}/kept?endpoint_url={self.url}&region_name=us-east-1"

    @property
    def environment(self) -> dict[str, str]:
        """Of a TrainHub whose clients send and fetch bytes at S3."""
        return {
            "TRAINHUB_ARTIFACTS_URL": self.storage_url,
            "TRAINHUB_S3_DIRECT": "true",
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(proxies={}),
        )
