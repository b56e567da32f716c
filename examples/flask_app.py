"""
Flask: an extension, in an application factory. ``/login/alice`` identifies the user,
also on its own response.

    flask --app examples/flask_app.py run --port 8000
"""

from __future__ import annotations

from flask import Flask, current_app, session

from idlanyard.integrations.flask import IDLanyard, current_context


def logged_in_user() -> str | None:
    """
    Return the user's ID, as ``current_user.get_id()`` of Flask-Login does.
    """
    return session.get("user")


ids = IDLanyard(user_loader=logged_in_user)


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "of this example"
    app.config["IDLANYARD_TRUSTED_PEERS"] = ["10.0.0.5"]
    app.logger.setLevel("INFO")
    ids.init_app(app)
    app.add_url_rule("/", view_func=hello)
    app.add_url_rule("/login/<user>", view_func=login)
    app.add_url_rule("/boom", view_func=boom)
    return app


def hello() -> dict[str, str]:
    current_app.logger.info("hello, %s", current_context)
    return current_context.as_dict()


def login(user: str) -> str:
    session["user"] = user
    return f"welcome, {user}"


def boom() -> str:
    raise RuntimeError("nobody handles this")
