"""The sign-in page in the site's own skin."""

from __future__ import annotations

from django.contrib.auth.views import LoginView


class SignInView(LoginView):
    """Name and password; someone already signed in goes straight on."""

    template_name = "accounts/login.html"
    redirect_authenticated_user = True
